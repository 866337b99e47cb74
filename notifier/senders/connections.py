"""Connections to endpoints, kept between attempts: to one endpoint, or shared by many.

Each attempt has its course (`Course`), which the connection that it gets fills in.
"""

from __future__ import annotations

import ssl as tls
from collections.abc import Mapping
from contextvars import ContextVar
from time import perf_counter  # the time of uvloop's loop stands still within a round, and counts milliseconds
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from notifier.runtime.aiohttp_private import IdleLimitedConnector
from notifier.senders.reply import READ_LIMIT
from notifier.senders.resolver import ThreadResolver
from notifier.senders.vetting import Vet, VettingResolver, vetted_sockets

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

KEEPALIVE = 15.0  # seconds that an idle connection is kept; below the usual limits of servers and balancers
MAX_IDLE = 256  # hosts to which idle connections are kept: a descriptor each at least, and there may be very many hosts


class Course:
    """How far one attempt got; filled in as it goes, so that also a timeout can tell."""

    __slots__ = ("address", "began", "body", "connected", "dns", "fresh_only", "headers", "replied", "reused", "status")

    def __init__(self, began: float) -> None:
        self.began = began
        self.dns = 0.0  # seconds of the lookup that it waited for
        self.connected = 0.0  # when the request could be written
        self.replied = 0.0  # when it had the reply's head
        self.reused = False  # the connection had been used before
        self.fresh_only = False  # it must not have been
        self.address: str | None = None
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.body = bytearray()


course_of: ContextVar[Course] = ContextVar("course")  # of the attempt that the current task makes


class _Connector(IdleLimitedConnector):
    """Tells the attempt about its connection; cheaper than aiohttp's tracing, which costs on every request."""

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
        course = course_of.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None
            address = self._peers.get(protocol)
            course.reused = address is not None
            if address is None:
                address = self._peers[protocol] = _peer(connection)
                host, began, ended = self._lookup.last
                if host == req.url.raw_host:  # else it was another's, over connections that are shared
                    course.dns = max(0.0, ended - max(began, course.began))
            elif course.fresh_only:
                connection.close()  # idle like the one that turned out stale, and likely as dead
                continue
            course.address = address
            course.connected = perf_counter()
            return connection


class Connections:
    """The session that keeps connections open; `limit` is how many at a time, 0 being any number."""

    def __init__(self, *, limit: int, ssl: tls.SSLContext | bool, vet: Vet | None = None) -> None:
        self._limit = limit
        self._ssl = ssl
        self._vet = vet
        self._session: aiohttp.ClientSession | None = None  # made by the first attempt, on the loop that it runs on

    def session(self) -> aiohttp.ClientSession:
        """Return the session."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(limit=self._limit, ssl=self._ssl, vet=self._vet),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # the exchange has a deadline for all
                auto_decompress=False,  # see `reply.decode`
                trust_env=False,
                read_bufsize=READ_LIMIT,
            )
        return self._session

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()


def _peer(connection: Connection) -> str:
    transport = connection.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    if not isinstance(peer, tuple):
        return "unknown"
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
