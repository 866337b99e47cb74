"""Connections that are kept between exchanges, by route.

An idle connection that hears anything closes itself, and is dropped when it is next looked at.
"""

from __future__ import annotations

import asyncio
from collections import deque

from notifier.core.callback import CallbackPolicy
from notifier.runtime.http1.connection import Connection
from notifier.runtime.http1.dialling import Dialler, Route
from notifier.runtime.http1.faults import ConnectFault
from notifier.runtime.http1.names import Names


class Pool:
    """Lends connections; each is given back by the one who borrowed it. It is used on one loop."""

    def __init__(
        self, *, limit: int = 0, keep: float, max_idle_routes: int = 0, policy: CallbackPolicy | None = None
    ) -> None:
        """Lend at most `limit` connections at a time; 0: any number.

        Keep an idle one for `keep` seconds, to at most `max_idle_routes` places; 0: any number. Where there is a
        `policy`, every address that is connected to is one that it allows.
        """
        self._limit = limit
        self._keep = keep
        self._max_idle_routes = max_idle_routes
        self._dialler = Dialler(Names(policy))
        self._idle: dict[Route, list[Connection]] = {}  # of each route the oldest first
        self._lent: set[Connection] = set()
        self._dialled = 0  # connections under way
        self._closed = False
        self._waiting: deque[asyncio.Future[None]] = deque()  # for a connection to be given back
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def idle_routes(self) -> int:
        """Return the number of places to which idle connections are kept."""
        return len(self._idle)

    def idle(self, route: Route) -> Connection | None:
        """Lend an idle connection; None if there is none."""
        kept = self._idle.get(route)
        if kept is None or self._full():
            return None
        while kept:
            connection = kept.pop()
            if not kept:
                del self._idle[route]
            if not connection.closed:
                self._lent.add(connection)
                return connection
        return None

    async def dial(self, route: Route) -> Connection:
        """Lend a new connection, or one that is given back meanwhile. Raises HttpFault."""
        while self._full() and not self._closed:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except BaseException:
                if waiter.done() and not waiter.cancelled():
                    self._next()  # it was called, and does not come
                raise
            if (connection := self.idle(route)) is not None:
                return connection
        if self._closed:
            raise ConnectFault(ConnectionAbortedError("the pool is closed"))
        self._dialled += 1
        try:
            connection = await self._dialler.dial(route)
        except BaseException:
            self._dialled -= 1
            self._next()
            raise
        self._dialled -= 1
        if self._closed:
            connection.abort()
            raise ConnectFault(ConnectionAbortedError("the pool is closed"))
        self._lent.add(connection)
        return connection

    def give_back(self, route: Route, connection: Connection) -> None:
        """Take a connection back. It is kept if another request can be written, and closed otherwise."""
        self._lent.discard(connection)
        kept = self._idle.get(route)
        if connection.reusable and not self._closed and (kept is not None or self._may_keep()):
            connection.used = True
            connection.idle_since = asyncio.get_running_loop().time()
            if kept is None:
                kept = self._idle[route] = []
            kept.append(connection)
            if self._sweep is None:
                self._sweep = asyncio.get_running_loop().call_later(self._keep, self._swept)
        else:
            connection.abort()
        if self._waiting:
            self._next()

    def forget(self, route: Route) -> None:
        """Close the idle connections to a place: one of them turned out to be closed by the other end."""
        for connection in self._idle.pop(route, ()):
            connection.abort()

    def close(self) -> None:
        """Close every connection, also those that are lent, and refuse those that are waited for."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in (*self._lent, *(each for kept in self._idle.values() for each in kept)):
            connection.abort()
        self._idle.clear()
        while self._waiting:
            self._next()

    def _full(self) -> bool:
        return 0 < self._limit <= len(self._lent) + self._dialled

    def _may_keep(self) -> bool:
        return not self._max_idle_routes or len(self._idle) < self._max_idle_routes

    def _next(self) -> None:
        """Wake the first that waits."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _swept(self) -> None:
        """Close connections that were idle for too long."""
        loop = asyncio.get_running_loop()
        self._sweep, oldest = None, loop.time()
        for route, kept in list(self._idle.items()):
            while kept and (kept[0].closed or kept[0].idle_since + self._keep <= loop.time()):
                kept.pop(0).abort()
            if kept:
                oldest = min(oldest, kept[0].idle_since)
            else:
                del self._idle[route]
        if self._idle:
            self._sweep = loop.call_at(oldest + self._keep, self._swept)
