"""Tells whoever listens what was committed, in the order of the store: each event once, none left out.

One reading of the store serves all who keep up. Whoever is further behind than what is kept, as those are who come back
with the place where they stopped, reads from the store by itself, a page at a time: memory is bounded whoever listens.
Nothing is read, kept or counted while nobody does.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from notifier.core.errors import NotifierError, StoreUnavailable
from notifier.core.model import Json
from notifier.store.store import Store
from notifier.store.values import EventFilter

KEPT = 1024  # events kept for all who listen
PAGE = 256  # events read or written at once
PACE = 0.05  # seconds from one reading to the next: many commits share one
STATUS_EVERY = 2.0  # seconds
AFTER_OUTAGE = 1.0  # seconds until the store is asked again
MAX_FOLLOWERS = 100  # a page each, in as many browsers


class TooMany(NotifierError):
    """As many listen as may; close some, or try again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event, ready to be written to anyone."""

    cursor: int
    type: str
    source: str | None
    frame: bytes

    def wanted(self, which: EventFilter) -> bool:
        """Say whether a filter lets it through."""
        return which.type in (None, self.type) and which.source in (None, self.source)


class Hub:
    """Reads what is new and keeps the latest of it."""

    def __init__(
        self, *, store: Store, summary: Callable[[], Awaitable[Json]], look_again: float | None = None
    ) -> None:
        """Make ready; `summary` says in a few words how things stand.

        `look_again`: seconds between looks for what others commit; None: nobody else does.
        """
        self._store = store
        self._look_again = look_again
        self._summary = summary
        self._kept: deque[Told] = deque()
        self._floor = 0  # what came after it is kept; what came before has to be read
        self._newest = 0
        self._status = b""
        self._followers: set[Follower] = set()
        self._reading = asyncio.Lock()
        self._wake = asyncio.Event()
        self._heard = asyncio.Event()  # somebody listens
        self._closed = False

    def notice(self) -> None:
        """Hear that something was committed."""
        if self._followers:
            self._wake.set()

    async def run(self) -> None:
        """Tell until cancelled; then all who listen are let go."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell_events(), name="stream events")
                tasks.create_task(self._tell_status(), name="stream status")
        finally:
            self._closed = True
            self._rouse()

    @asynccontextmanager
    async def follow(self, which: EventFilter, after: int | None) -> AsyncIterator[Follower]:
        """Listen to what comes after an event, or from now on. Raises TooMany, StoreUnavailable."""
        if self._closed:
            raise StoreUnavailable("the daemon is stopping")
        if len(self._followers) >= MAX_FOLLOWERS:
            raise TooMany
        follower = Follower(self, which)
        self._followers.add(follower)  # first, so that nothing goes unnoticed from here on
        try:
            async with self._reading:
                if not self._heard.is_set():
                    await self._begin()
                if after is not None and after > self._newest:  # another node told of it a moment ago
                    while await self._read_page():
                        pass
            follower.position = self._newest if after is None else min(after, self._newest)
            yield follower
        finally:
            self._followers.discard(follower)
            if not self._followers:
                self._heard.clear()
                self._wake.clear()
                self._kept.clear()
                self._status = b""

    async def _begin(self) -> None:
        latest = await self._store.events(EventFilter(), limit=1, in_order=True)
        self._newest = self._floor = int(latest[0]["cursor"]) if latest else 0
        self._kept.clear()
        self._heard.set()

    async def _tell_events(self) -> None:
        while True:
            await self._heard.wait()
            try:
                async with asyncio.timeout(self._look_again):
                    await self._wake.wait()
            except TimeoutError:
                pass  # somebody else may have committed something
            self._wake.clear()
            try:
                async with self._reading:
                    while self._heard.is_set() and await self._read_page():
                        pass
            except StoreUnavailable:
                self._wake.set()
                await asyncio.sleep(AFTER_OUTAGE)
            await asyncio.sleep(PACE)

    async def _read_page(self) -> bool:
        """Take the next events in; say whether there may be more."""
        found = await self._store.events(EventFilter(), limit=PAGE, after=self._newest)
        self._kept.extend(map(told, found))
        if found:
            self._newest = self._kept[-1].cursor
        while len(self._kept) > KEPT:
            self._floor = self._kept.popleft().cursor
        self._rouse()
        return len(found) == PAGE

    async def _tell_status(self) -> None:
        while True:
            await self._heard.wait()
            try:
                self._status = _frame("status", await self._summary())
                self._rouse()
            except StoreUnavailable:
                pass  # the store has said so; there is another time
            await asyncio.sleep(STATUS_EVERY)

    def _rouse(self) -> None:
        for follower in self._followers:
            follower.wake.set()

    # -- what those who listen ask of it

    @property
    def closed(self) -> bool:
        """Say that nothing more will come."""
        return self._closed

    @property
    def status(self) -> bytes:
        """Return how things stood last, ready to be written; empty if nobody knows yet."""
        return self._status

    @property
    def floor(self) -> int:
        """Return the newest event that is no longer kept."""
        return self._floor

    def after(self, position: int) -> list[Told]:
        """Return the first of what is kept and came after."""
        newer = list(_newer(self._kept, position))
        newer.reverse()
        return newer[:PAGE]

    async def read(self, which: EventFilter, position: int) -> list[Told]:
        """Read what came after from the store."""
        return [told(item) for item in await self._store.events(which, limit=PAGE, after=position)]


class Follower:
    """Somebody who listens, and how far they have come."""

    def __init__(self, hub: Hub, which: EventFilter) -> None:
        self.wake = asyncio.Event()
        self.position = 0
        self._hub = hub
        self._which = which
        self._status = b""

    async def next(self, patience: float) -> bytes | None:
        """Return what is to be written next; nothing after `patience` seconds without any, None at the end.

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

    async def _take(self) -> list[Told]:
        """Return the next events that are wanted."""
        while self.position < self._hub.floor:
            floor = self._hub.floor
            found = await self._hub.read(self._which, self.position)
            self.position = found[-1].cursor if found else floor
            if len(found) < PAGE:
                self.position = max(self.position, floor)
            if found:
                return found
        while newer := self._hub.after(self.position):
            self.position = newer[-1].cursor
            wanted = [each for each in newer if each.wanted(self._which)]
            if wanted:
                return wanted
        return []


def told(item: Json) -> Told:
    """Write an event for all who listen."""
    frame = b"id: %s\n" % item["cursor"].encode() + _frame(item["type"], item)
    return Told(cursor=int(item["cursor"]), type=item["type"], source=item["source"], frame=frame)


def _frame(kind: str, value: Json) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n".encode()


def _newer(kept: deque[Told], position: int) -> Iterator[Told]:
    for each in reversed(kept):
        if each.cursor <= position:
            return
        yield each
