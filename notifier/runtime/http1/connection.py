"""One connection: requests are written whole, and replies are read as they come. No policy.

One exchange at a time. Its caller writes a request, waits until as much of the reply is there as it needs, and takes
the body. A caller that is cancelled, or stops early, closes the connection.
"""

from __future__ import annotations

import asyncio
import ssl
from time import perf_counter  # the clock of uvloop's loop stands still within a round, and counts milliseconds
from typing import cast

from notifier.runtime.http1.faults import CutShort, HttpFault, Lost
from notifier.runtime.http1.reply import ReplyReader

READ_AHEAD = 16 << 10  # bytes of a body held for a caller that is slow; thousands of streams share the memory


class Connection(asyncio.Protocol):
    """A connection to one place, direct or through a tunnel."""

    __slots__ = (
        "_loop",
        "_paused",
        "_transport",
        "_until",
        "_waiter",
        "address",
        "closed",
        "fault",
        "idle_since",
        "looked_up",
        "replied",
        "reply",
        "used",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None  # is done, or there is none: nobody waits
        self._until = 0  # bytes of the body that wake the waiter
        self._paused = False
        self.reply = ReplyReader()
        self.fault: HttpFault | None = None
        self.closed = False
        self.used = False  # an exchange before the present one was completed over it
        self.looked_up = 0.0  # seconds that its making waited for a lookup
        self.idle_since = 0.0  # by the loop's clock
        self.replied = 0.0  # `perf_counter` when the reply's head was complete
        self.address = ""  # `host:port` of the other end

    @property
    def reusable(self) -> bool:
        """Return whether another request can be written: the reply is complete, and nothing speaks against it.

        A server may answer before it has read the request, and what is left of that would come before the next one.
        """
        written = self._transport is not None and not self._transport.get_write_buffer_size()
        return self.reply.over and self.reply.keeps and written and not self.closed

    def ask(self, request: bytes) -> None:
        """Write a request, in one piece."""
        assert self._transport is not None
        self.replied = 0.0
        self.reply.begin()
        self._transport.write(request)

    async def wait(self, size: int, deadline: float | None = None) -> None:
        """Return once the reply's head and `size` bytes of its body are there, or the reply is complete.

        Raises HttpFault where that will never be, TimeoutError at the deadline (loop time).
        """
        reply = self.reply
        if not (reply.over or self.fault is not None or (reply.status and reply.size >= size)):
            waiter = self.more(size)
            timer = None if deadline is None else self._loop.call_at(deadline, _expire, waiter)
            try:
                await waiter
            finally:
                if timer is not None:
                    timer.cancel()
            if not (reply.over or self.fault is not None or (reply.status and reply.size >= size)):
                raise TimeoutError
        if self.fault is not None and not (reply.status and reply.size >= size):
            raise self.fault.anew()

    def more(self, size: int = 1) -> asyncio.Future[None]:
        """Return a future that is done once so much of the body is there, or nothing more will come.

        Its caller has seen that neither is so, and is the only one that waits.
        """
        if self._paused:
            self._resume()
        self._until = size
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def abort(self) -> None:
        """Close the connection at once, without TLS's goodbye. May be repeated."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    async def encrypt(self, tls: ssl.SSLContext, host: str) -> None:
        """Speak TLS from here on. Raises OSError, which includes ssl.SSLError."""
        assert self._transport is not None
        self.reply = ReplyReader()
        transport = await self._loop.start_tls(self._transport, self, tls, server_hostname=host)
        if transport is None:
            raise ConnectionAbortedError
        self._transport = transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.address = _address(transport.get_extra_info("peername"))

    def data_received(self, data: bytes) -> None:
        reply = self.reply
        if reply.over:  # nobody asked
            reply.keeps = False
            self.abort()
            return
        try:
            reply.feed(data)
        except HttpFault as exc:
            self._end(exc)
            return
        if not self.replied and reply.status:
            self.replied = perf_counter()
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            if reply.over or (reply.status and reply.size >= self._until):
                waiter.set_result(None)
        elif reply.size > READ_AHEAD and not reply.over and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        ours, self.closed = self.closed, True
        fault: HttpFault | None = None
        if self.fault is None and not self.reply.over:
            fault = self.reply.finish()
            if isinstance(fault, Lost):
                fault.error = exc
            elif fault is None and (exc is not None or ours):
                fault = CutShort("the connection broke within the reply")
        self._end(fault)
        self._transport = None
        self.reply.free()

    def _end(self, fault: HttpFault | None) -> None:
        """Record a fault, if there is one, close, and wake the waiter."""
        if fault is not None and self.fault is None:
            self.fault, fault.__context__ = fault.with_traceback(None), None
        self.abort()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _resume(self) -> None:
        self._paused = False
        if self._transport is not None and not self.closed:
            self._transport.resume_reading()


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)  # an exception in it would hold its traceback, see `HttpFault.anew`


def _address(peer: object) -> str:
    """Return the other end of a connection as it is written, with its port."""
    if not isinstance(peer, tuple):
        return "unknown"
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
