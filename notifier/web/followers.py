"""The clients of the event stream, each with its position: of all events, or of one watch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from notifier.store import EventFilter

if TYPE_CHECKING:
    from notifier.web.hub import Frame, Hub


class Follower:
    """One client of the stream, with its position."""

    def __init__(self, hub: Hub, which: EventFilter) -> None:
        self.wake = asyncio.Event()
        self.position = 0
        self._hub = hub
        self._which = which
        self._status = b""

    async def next(self, patience: float) -> bytes | None:
        """Return the next bytes to write; empty after `patience` seconds without events, None at the end.

        Raises StoreUnavailable.
        """
        while not self._hub.closed:
            self.wake.clear()
            frames = [each.frame for each in await self._take()]
            if self._hub.status is not self._status:
                self._status = self._hub.status
                frames.append(self._status)
            if frames:
                return b"".join(frames)
            try:
                async with asyncio.timeout(patience):
                    await self.wake.wait()
            except TimeoutError:
                return b""
        return None

    async def _take(self) -> list[Frame]:
        """Return the next events that the filter accepts."""
        while self.position < self._hub.floor:
            floor = self._hub.floor
            page, more = await self._hub.read(self._which, self.position)
            self.position = page[-1].cursor if page else floor
            if not more:
                self.position = max(self.position, floor)
            if page:
                return page
        while newer := self._hub.after(self.position):
            self.position = newer[-1].cursor
            matching = [each for each in newer if each.matches(self._which)]
            if matching:
                return matching
        return []


class WatchFollower:
    """One client that follows a single watch: it reads from the store, and only when the watch has new events."""

    def __init__(self, hub: Hub, which: EventFilter, signal: asyncio.Event, position: int) -> None:
        self._hub = hub
        self._which = which
        self._signal = signal
        self._position = position
        self._signal.set()  # there may be events since the position

    async def next(self, patience: float) -> bytes | None:
        """Return the next bytes to write; empty after `patience` seconds without events, None at the end.

        Raises StoreUnavailable.
        """
        while not self._hub.closed:
            try:
                async with asyncio.timeout(patience):
                    await self._signal.wait()
            except TimeoutError:
                return b""
            self._signal.clear()
            page, more = await self._hub.read(self._which, self._position)
            if more:
                self._signal.set()
            if page:
                self._position = page[-1].cursor
                return b"".join(each.frame for each in page)
        return None
