"""aiohttp-sse-client's EventSource over a connection of ours, for callers who know its interface.

Its base connects again by itself, over aiohttp, and reads in a way of its own; here a connection is made once and read
to its end, and in the place of a session, which is never used, the base has our pool. The names with an underscore
belong to the base, version 0.2.1; a test fails when they change.
"""

from __future__ import annotations

from aiohttp_sse_client.client import READY_STATE_CLOSED, EventSource, MessageEvent

from notifier.core.eventstream import Framing
from notifier.runtime.http1 import Pool
from notifier.sources.connection import Connection
from notifier.sources.http import DIRECT, Way
from notifier.sources.request import Request


class EventConnection(EventSource):  # type: ignore[misc]  # the library is untyped
    """One connection; `async for` yields MessageEvents, as with the base."""

    def __init__(self, request: Request, *, pool: Pool, framing: Framing, way: Way = DIRECT) -> None:
        super().__init__(request.url, option={"method": request.method}, session=pool, headers=request.headers)
        self.connection = Connection(request, pool=pool, framing=framing, way=way)
        self._messages: list[MessageEvent] = []  # received and not handed out, in reverse

    async def connect(self, retry: int = 0) -> None:  # noqa: ARG002  # the base's signature; nothing is retried here
        """Connect once. Raises SourceError."""
        try:
            await self.connection.connect()
        except BaseException:
            await self._fail_connect()
            raise
        await self._connected()

    async def __anext__(self) -> MessageEvent:
        """Return the next event. Ends and raises like `Connection.receive`."""
        while not self._messages:
            events = await self.connection.receive()
            if events is None:
                raise StopAsyncIteration
            self._messages = [
                MessageEvent(event.type, event.type, event.text, self.connection.origin, event.last_event_id)
                for event in reversed(events)
            ]
        return self._messages.pop()

    async def close(self) -> None:
        """Close the connection, and forget messages that were not handed out."""
        self._ready_state = READY_STATE_CLOSED
        self._messages.clear()
        self.connection.close()
