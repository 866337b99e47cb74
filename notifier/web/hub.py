"""Sends committed events to all followers, in the order of the store: each event once, none left out.

One reading of the store serves all followers that keep up. A follower that is behind the kept events, as one that
returns with its last position, reads from the store by itself, one page at a time: memory is bounded for any number of
followers. Without followers nothing is read, kept or counted.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from notifier.core.errors import StoreUnavailable
from notifier.core.model import Json
from notifier.runtime.wake import Wake
from notifier.store import EventFilter, Store
from notifier.web.refusals import Stopping, TooManyFollowers
from notifier.web.status import StatusReport

KEPT = 1024  # events kept for all followers
PAGE = 256  # events read or written at once
PACE = 0.05  # seconds between readings: many commits share one
STATUS_EVERY = 2.0  # seconds
AFTER_OUTAGE = 1.0  # seconds until the store is read again
MAX_FOLLOWERS = 100  # of all events: one status page each
MAX_SIGNALS = 5000  # for single watches


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """An event, encoded for all followers."""

    cursor: int
    type: str
    source: str | None
    frame: bytes

    def matches(self, which: EventFilter) -> bool:
        """Return whether a filter accepts the event."""
        return which.type in (None, self.type) and which.source in (None, self.source)


class Hub:
    """Reads new events and keeps the latest of them."""

    def __init__(self, *, store: Store, report: StatusReport, committed: Wake, look_again: float | None = None) -> None:
        """Create it; `committed` is set after each commit of this node.

        `look_again`: seconds between readings for commits of other nodes; None: there are none.
        """
        self._store = store
        self._look_again = look_again
        self._report = report
        self._kept: deque[Frame] = deque()
        self._floor = 0  # events after it are kept; events before it have to be read
        self._newest = 0
        self._status = b""
        self._followers: set[Follower] = set()
        self._reading = asyncio.Lock()
        self._committed = committed
        self._signals: dict[tuple[str | None, str | None], set[asyncio.Event]] = {}  # by source and id of the watch
        self._used = asyncio.Event()  # there are followers or signals, so events are read
        self._followed = asyncio.Event()  # there are followers, so the state is read too
        self._closed = False

    async def run(self) -> None:
        """Send events until cancelled; then end every follower's stream."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read_events(), name="stream events")
                tasks.create_task(self._read_status(), name="stream status")
        finally:
            self._closed = True
            self._wake_followers()
            for key in self._signals:
                self._set_signals(key)

    @asynccontextmanager
    async def follow(self, which: EventFilter, after: int | None) -> AsyncIterator[Follower | WatchFollower]:
        """Follow the events after a position, or from now on. Raises TooManyFollowers, Stopping, StoreUnavailable."""
        if which.source is not None and which.task is not None:
            async with self.watch(which.source, which.task, after) as (wake, position):
                yield WatchFollower(self, which, wake, position)
            return
        if len(self._followers) >= MAX_FOLLOWERS:
            raise TooManyFollowers
        follower = Follower(self, which)
        self._followers.add(follower)  # first, so that no commit from here on goes unnoticed
        try:
            follower.position = await self._enter(after)
            self._followed.set()
            yield follower
        finally:
            self._followers.discard(follower)
            self._leave()

    @asynccontextmanager
    async def watch(
        self, source: str, task_id: str, after: int | None = None
    ) -> AsyncIterator[tuple[asyncio.Event, int]]:
        """Yield a signal that is set with each new event of one watch, and at the end; and the position to begin at.

        It costs nothing while the watch has no events. Raises TooManyFollowers, Stopping, StoreUnavailable.
        """
        if sum(map(len, self._signals.values())) >= MAX_SIGNALS:
            raise TooManyFollowers
        signal = asyncio.Event()
        signals = self._signals.setdefault((source, task_id), set())
        signals.add(signal)
        try:
            yield signal, await self._enter(after)
        finally:
            signals.discard(signal)
            if not signals:
                self._signals.pop((source, task_id), None)
            self._leave()

    async def _enter(self, after: int | None) -> int:
        """Begin to read, unless it is read already; return the position at which a new follower begins."""
        if self._closed:
            raise Stopping
        async with self._reading:
            if not self._used.is_set():
                self._committed.clear()  # whatever was committed before is behind the latest event
                latest = await self._store.lists.events(EventFilter(), limit=1, in_order=True)
                self._newest = self._floor = int(latest[0]["cursor"]) if latest else 0
                self._kept.clear()
                self._used.set()
            if after is not None and after > self._newest:  # the position comes from another node
                while await self._read_page():
                    pass
        return self._newest if after is None else min(after, self._newest)

    def _leave(self) -> None:
        """Keep nothing, and read nothing, for followers that have gone."""
        if not self._followers:
            self._followed.clear()
            self._kept.clear()
            self._floor = self._newest
            self._status = b""
        if not self._followers and not self._signals:
            self._used.clear()
            self._committed.clear()

    async def _read_events(self) -> None:
        while True:
            await self._used.wait()
            await self._committed.wait(self._look_again)  # after this time another node may have committed something
            try:
                async with self._reading:
                    while self._used.is_set() and await self._read_page():
                        pass
            except StoreUnavailable:
                self._committed.set()
                await asyncio.sleep(AFTER_OUTAGE)
            await asyncio.sleep(PACE)

    async def _read_page(self) -> bool:
        """Read the next events; return whether there may be more."""
        items = await self._store.lists.events(EventFilter(), limit=PAGE, after=self._newest)
        if items:
            self._newest = int(items[-1]["cursor"])
        if self._followers:
            self._kept.extend(map(encode, items))
            while len(self._kept) > KEPT:
                self._floor = self._kept.popleft().cursor
            self._wake_followers()
        else:
            self._floor = self._newest
        if self._signals:
            for item in items:
                self._set_signals((item["source"], item["task"]))
        return len(items) == PAGE

    async def _read_status(self) -> None:
        while True:
            await self._followed.wait()
            try:
                self._status = _frame("status", await self._report.pulse())
                self._wake_followers()
            except StoreUnavailable:
                pass  # the store has logged it; the next round tries again
            await asyncio.sleep(STATUS_EVERY)

    def signal(self, source: str, task_id: str) -> None:
        """Set the signals of a watch that has changed without an event."""
        self._set_signals((source, task_id))

    def _set_signals(self, key: tuple[str | None, str | None]) -> None:
        for signal in self._signals.get(key, ()):
            signal.set()

    def _wake_followers(self) -> None:
        for follower in self._followers:
            follower.wake.set()

    # -- for followers

    @property
    def closed(self) -> bool:
        """Return whether no more events will come."""
        return self._closed

    @property
    def status(self) -> bytes:
        """Return the last state, encoded; empty before the first."""
        return self._status

    @property
    def floor(self) -> int:
        """Return the position of the newest event that is no longer kept."""
        return self._floor

    def after(self, position: int) -> list[Frame]:
        """Return the first kept events after a position."""
        newer = list(_newer(self._kept, position))
        newer.reverse()
        return newer[:PAGE]

    async def read(self, which: EventFilter, position: int) -> tuple[list[Frame], bool]:
        """Read the events after a position from the store; return them, and whether there may be more."""
        items = await self._store.lists.events(which, limit=PAGE, after=position)
        return [encode(item) for item in items], len(items) == PAGE


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


def encode(item: Json) -> Frame:
    """Encode an event for all followers."""
    frame = b"id: %s\n" % item["cursor"].encode() + _frame(item["type"], item)
    return Frame(cursor=int(item["cursor"]), type=item["type"], source=item["source"], frame=frame)


def _frame(kind: str, value: Json) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n".encode()


def _newer(kept: deque[Frame], position: int) -> Iterator[Frame]:
    for each in reversed(kept):
        if each.cursor <= position:
            return
        yield each
