"""Connections to endpoints, kept between attempts: to one endpoint, or shared by many.

Each attempt has an `AttemptTrace`, which its connection fills in. The body of a request is written only while the
delivery is surely this node's.
"""

from __future__ import annotations

import io
import ssl as tls
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from time import perf_counter  # the clock of uvloop's loop stands still within a round, and counts milliseconds
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from notifier.runtime.aiohttp_private import IdleLimitedConnector, keep_head
from notifier.senders.reply import READ_LIMIT
from notifier.senders.vetting import ThreadResolver, Vet, VettingResolver, vetted_sockets

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

KEEPALIVE = 15.0  # seconds that an idle connection is kept; below the usual limits of servers and balancers
MAX_IDLE = 256  # hosts to which idle connections are kept: each takes a descriptor, and there may be very many hosts
MAX_HEADER = 64 << 10  # bytes of a reply's status line, and of each header: policies, cookies and traces are long
MAX_HEADERS = 1000  # of a reply
MAX_HEAD = 256 << 10  # bytes of a reply's head
LARGE = 1 << 20  # bytes; aiohttp wants a file for a larger body, and writes it in pieces

StillOurs = Callable[[], bool]  # asked in the step that writes: whether the delivery is surely still this node's


class ClaimLost(Exception):
    """The delivery may be another node's by now."""


class AttemptTrace:
    """The progress of one attempt. It is filled in on the way, so that a timeout can also report it."""

    __slots__ = (
        "address",
        "began",
        "body",
        "connected",
        "dns",
        "fresh_only",
        "head",
        "headers",
        "replied",
        "reused",
        "status",
    )

    def __init__(self, began: float) -> None:
        self.began = began
        self.dns = 0.0  # seconds of the lookup that it waited for
        self.connected = 0.0  # when the request could be written
        self.replied = 0.0  # when the reply's head was complete
        self.reused = False  # whether the connection had been used before
        self.fresh_only = False  # whether only a new connection will do
        self.address: str | None = None
        self.status: int | None = None
        self.head = bytearray()  # of the reply as it was received, as far as the parser has not accepted it
        self.headers: Mapping[str, str] = {}
        self.body = bytearray()


current_trace: ContextVar[AttemptTrace] = ContextVar("current_trace")  # of the attempt that the current task makes


class _Connector(IdleLimitedConnector):
    """Fills in the attempt's trace. This is cheaper than aiohttp's tracing, which costs on every request."""

    def __init__(self, *, limit: int, ssl: tls.SSLContext | bool, vet: Vet | None) -> None:
        self._lookup = ThreadResolver()
        super().__init__(
            max_idle_hosts=MAX_IDLE,
            limit=limit,
            ssl=ssl,
            keepalive_timeout=KEEPALIVE,
            resolver=self._lookup if vet is None else VettingResolver(self._lookup, vet),
            socket_factory=None if vet is None else vetted_sockets(vet),
        )
        self._peers: WeakKeyDictionary[ResponseHandler, str] = WeakKeyDictionary()

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        trace = current_trace.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None
            address = self._peers.get(protocol)
            trace.reused = address is not None
            if address is None:
                address = self._peers[protocol] = _peer(connection)
                host, began, ended = self._lookup.last
                if host == req.url.raw_host:  # otherwise it was another attempt's, over shared connections
                    trace.dns = max(0.0, ended - max(began, trace.began))
            elif trace.fresh_only:
                connection.close()  # idle like the connection that turned out stale, and probably closed as well
                continue
            trace.address = address
            trace.head = keep_head(connection, MAX_HEAD, reused=trace.reused)
            trace.connected = perf_counter()
            return connection


class Connections:
    """A pool of connections, closed when its last user releases it. Its creator is the first user."""

    def __init__(self, *, limit: int, ssl: tls.SSLContext | bool, vet: Vet | None = None) -> None:
        """Open up to `limit` connections at a time; 0: any number."""
        self._limit = limit
        self._ssl = ssl
        self._vet = vet
        self._users = 1
        self._session: aiohttp.ClientSession | None = None  # created by the first attempt, on the loop that it runs on

    def share(self) -> Connections:
        """Add a user; return the pool itself."""
        self._users += 1
        return self

    async def release(self) -> None:
        """Remove a user; close every connection if it was the last."""
        self._users -= 1
        if not self._users and self._session is not None:
            await self._session.close()

    def session(self) -> aiohttp.ClientSession:
        """Return the session."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(limit=self._limit, ssl=self._ssl, vet=self._vet),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # the exchange has one deadline for all
                auto_decompress=False,  # see `reply.decode`
                trust_env=False,
                read_bufsize=READ_LIMIT,
                max_line_size=MAX_HEADER,
                max_field_size=MAX_HEADER,
                max_headers=MAX_HEADERS,
            )
        return self._session


class _SmallBody(aiohttp.BytesPayload):
    def __init__(self, body: bytes, still_ours: StillOurs) -> None:
        super().__init__(body)
        self._still_ours = still_ours

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        _require(self._still_ours)
        await super().write_with_length(writer, content_length)


class _LargeBody(aiohttp.BytesIOPayload):
    def __init__(self, body: bytes, still_ours: StillOurs) -> None:
        super().__init__(io.BytesIO(body))
        self._still_ours = still_ours

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        _require(self._still_ours)
        await super().write_with_length(writer, content_length)


def always() -> bool:
    """Return True: the delivery is in no outbox, so no other node can take it."""
    return True


def request_body(body: bytes, still_ours: StillOurs) -> aiohttp.Payload:
    """Return a body to send once. Writing it raises ClaimLost, which aiohttp wraps, if the delivery may be lost.

    aiohttp may write the body a round of the event loop after it has a connection, and the process may be stopped in
    between. aiohttp writes the headers together with the body, so nothing is sent if the body raises.
    """
    return _SmallBody(body, still_ours) if len(body) <= LARGE else _LargeBody(body, still_ours)


def _require(still_ours: StillOurs) -> None:
    if not still_ours():
        raise ClaimLost


def _peer(connection: Connection) -> str:
    transport = connection.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    if not isinstance(peer, tuple):
        return "unknown"
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
