"""The connections of the HTTP listener: a limit on them, deadlines for each, and places kept for operators.

A new connection is worth more than an idle one: at the limit the oldest connection without a request is closed for it.
Only if all are busy is a new connection limited to operators. So nobody who holds connections can keep an operator out.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import structlog
from aiohttp import web

from notifier.runtime.aiohttp_private import is_idle
from notifier.web.refusals import problem

log = structlog.get_logger(__name__)

HEAD_TIMEOUT = 20.0  # seconds for the head of a request, from its first byte; of the first one, from the connection
IDLE_TIMEOUT = 75.0  # seconds between requests; reverse proxies close idle connections earlier (nginx: 60 s)
MAX_HEAD = 256 << 10  # bytes of a request's head
MAX_HEADER = 64 << 10  # bytes of one header; browsers send the cookies of all ports of a host, far more than 8 KiB
RESERVED = 32  # connections beyond the limit, for operators
LINGER = 1.0  # seconds of reading the rest of a refused request, so that its sender can read the answer
MAX_REASON = 200  # characters of aiohttp's message, which may quote the request


class ClientConnections:
    """All open connections of a listener."""

    def __init__(self, limit: int) -> None:
        """Create it for `limit` connections, and `RESERVED` more for operators."""
        self._limit = limit
        self._open: dict[ClientConnection, None] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: ClientConnection) -> None:
        """Count a new connection in; close an old one, or the new one, if there are too many."""
        self._open[connection] = None
        if len(self._open) <= self._limit or self.close_oldest(besides=connection):
            return
        connection.reserved = True
        if len(self._open) > self._limit + RESERVED:
            connection.abort("too many connections")

    def remove(self, connection: ClientConnection) -> None:
        """Count a closed connection out."""
        self._open.pop(connection, None)

    def close_oldest(self, *, besides: ClientConnection | None = None) -> bool:
        """Close the oldest connection without a request; return whether there was one."""
        for connection in self._open:
            if connection is not besides and connection.idle:
                del self._open[connection]
                connection.abort("a new connection needs its place")
                return True
        return False


class ClientConnection(web.RequestHandler):
    """One connection. Its client has limited time for the head of each request.

    It answers bytes that are not HTTP, or too many, with a problem like any other. aiohttp would answer in plain text
    and log a traceback: anybody who can reach the port could fill the log.
    """

    __slots__ = ("_connections", "_deadline", "_head_bytes", "_loss_signal", "lost", "reserved")

    def __init__(self, server: web.Server, connections: ClientConnections, **options: Any) -> None:
        super().__init__(
            server,
            auto_decompress=False,
            keepalive_timeout=IDLE_TIMEOUT,
            lingering_time=LINGER,
            max_field_size=MAX_HEADER,
            **({"access_log": None} | options),
        )
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._loss_signal: asyncio.Event | None = None
        self.lost = False  # the client has gone
        self.reserved = False  # beyond the limit: it serves operators only

    @property
    def idle(self) -> bool:
        """Return whether no request is being answered, or has come completely."""
        return is_idle(self)

    @property
    def local(self) -> bool:
        """Return whether the client runs on this machine."""
        peer = self.peername
        return not isinstance(peer, tuple) or ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline of the first request."""
        super().connection_made(transport)
        # Not asserted: uvloop's transports have the methods of asyncio's, and not its class.
        transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=0)  # a write returns once the system has all bytes, or its time is up
        self._start_deadline()
        self._connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the deadline, and wake the request that waits for something else."""
        self.lost = True
        if self._loss_signal is not None:
            self._loss_signal.set()
        self._stop_deadline()
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes, and start or stop the deadline of the head."""
        super().data_received(data)
        if not is_idle(self):
            self._stop_deadline()
        elif data:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self.abort("the head of the request is too large")
            elif self._deadline is None:
                self._start_deadline()

    @contextmanager
    def signal_loss(self, signal: asyncio.Event) -> Iterator[None]:
        """Set a signal, inside the block, when the client has gone: aiohttp lets a request go on regardless."""
        self._loss_signal = signal
        try:
            yield
        finally:
            self._loss_signal = None

    def abort(self, reason: str) -> None:
        """Close the connection at once, without sending the rest of an answer."""
        log.debug("http.closed", peer=self.peername, reason=reason)
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()

    def _start_deadline(self) -> None:
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(HEAD_TIMEOUT, self._expire)

    def _stop_deadline(self) -> None:
        self._head_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if is_idle(self):
            self.abort("the head of the request took too long")

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that could not be read; aiohttp answers and logs the daemon's own errors."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        reason = ((message or str(exc)).splitlines() or [""])[0][:MAX_REASON]
        log.debug("http.refused", peer=request.remote, status=status, reason=reason)
        answer = problem(status, f"this is no HTTP request that can be taken: {reason}")
        answer.force_close()
        return answer


def connection_of(request: web.Request) -> ClientConnection:
    """Return the connection of a request."""
    connection = request.protocol
    assert isinstance(connection, ClientConnection)  # the listener makes no others
    return connection
