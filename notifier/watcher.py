"""From watches to subscriptions: claims what is to be followed and hands each watch to its source's feed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import structlog

from notifier.core.errors import StoreUnavailable
from notifier.core.model import Watch
from notifier.feed import Feed
from notifier.interfaces import Store
from notifier.subscription import Subscription

log = structlog.get_logger(__name__)

CLAIM = 1000  # watches claimed at once
LOOK_AGAIN = 5.0  # seconds between looks for watches that nobody announced


class Watcher:
    """Owns the feeds."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self._feeds: dict[str, Feed] = {}
        self._orphans: dict[int, Watch] = {}  # of sources that the configuration does not name
        self._unsure: list[Watch] = []
        self._wake = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def feeds(self) -> Mapping[str, Feed]:
        """Return the feeds by source."""
        return self._feeds

    async def run(self) -> None:
        """Claim and follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for name in self._feeds:
                self._start(name)
            await self._claim()

    def wake(self) -> None:
        """Look for watches now."""
        self._wake.set()

    def set_feeds(self, feeds: Mapping[str, Feed]) -> None:
        """Follow through these feeds. One that stays the same object goes on untouched."""
        for name in [name for name, feed in self._feeds.items() if feeds.get(name) is not feed]:
            gone = self._feeds.pop(name)
            self._orphans.update((watch.pk, watch) for watch in gone.watches())
            gone.stop()
        for name, feed in feeds.items():
            if name not in self._feeds:
                self._feeds[name] = feed
                self._start(name)
        for watch in [watch for watch in self._orphans.values() if watch.source in self._feeds]:
            del self._orphans[watch.pk]
            self._feeds[watch.source].add(watch)

    def drop(self, watches: Iterable[Watch]) -> None:
        """Stop following these."""
        for watch in watches:
            self._orphans.pop(watch.pk, None)
            if watch.source in self._feeds:
                self._feeds[watch.source].drop(watch.pk)

    def describe(self, watches: Iterable[Watch]) -> None:
        """Take over labels, metadata and endpoints of these."""
        for watch in watches:
            if watch.source in self._feeds:
                self._feeds[watch.source].describe(watch)
            elif watch.pk in self._orphans:
                self._orphans[watch.pk] = watch

    def subscription(self, source: str, pk: int) -> Subscription | None:
        """Return what is remembered of a watch's connections while it is followed."""
        feed = self._feeds.get(source)
        return None if feed is None else feed.subscription(pk)

    def lost_hold(self, watch: Watch) -> None:
        """Hear that a watch turned out not to be as we knew it: let go of it, and take it up again as it is."""
        self._unsure.append(watch)
        self._wake.set()

    def _start(self, name: str) -> None:
        if self._tasks is not None:
            self._tasks.create_task(self._feeds[name].run(), name=f"feed {name}")

    async def _claim(self) -> None:
        while True:
            self._wake.clear()
            unsure, self._unsure = self._unsure, []
            try:
                if unsure:
                    await self._store.release_watches(unsure)
                claimed = await self._store.claim_watches(CLAIM)
            except StoreUnavailable:
                claimed = []  # the store has said so; the next look comes soon
            for watch in claimed:
                self._add(watch)
            if len(claimed) == CLAIM:
                continue
            try:
                async with asyncio.timeout(LOOK_AGAIN):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _add(self, watch: Watch) -> None:
        if watch.source in self._feeds:
            self._feeds[watch.source].add(watch)
            return
        self._orphans[watch.pk] = watch
        log.warning("watch.no_source", source=watch.source, id=watch.id, hint="the configuration names no such source")
