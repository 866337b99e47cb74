"""From watches to subscriptions: claims watches in the store and hands each to its source's feed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import structlog

from notifier.core.errors import StoreUnavailable
from notifier.core.model import Watch
from notifier.follow.feed import Feed
from notifier.follow.followed import Unsure
from notifier.follow.subscription import Subscription
from notifier.runtime.wake import Wake
from notifier.store import Nodes, Store

log = structlog.get_logger(__name__)

CLAIM = 1000  # watches claimed at once
LOOK_AGAIN = 5.0  # seconds between searches for watches that nobody announced
LOOK = 500  # watches read at once, of those that others changed
COMPARE = 30.0  # seconds between comparisons of the watches followed with the store's
NO_SOURCE = "nobody follows its open watches until the configuration names it again, or they are removed"
Share = tuple[frozenset[str] | None, int | None]  # sources, None: all; and how many of their watches, None: all


class Watcher:
    """Owns the feeds."""

    def __init__(self, *, store: Store, nodes: Nodes | None = None, over_share: Wake | None = None) -> None:
        """Follow watches of `store`; `nodes` share it, None if there are no others.

        `over_share` is set when this node may follow more watches than its share.
        """
        self._store = store
        self._nodes = nodes
        self._feeds: dict[str, Feed] = {}
        self._orphans: dict[int, Watch] = {}  # of sources that the configuration does not name
        self._told: set[str] = set()  # those of these sources that were logged
        self._changed: set[int] = set()  # watches that others changed, or may have
        self._compare = False  # the watches followed have to be compared with the store's
        self._wake = Wake()
        self.unsure = Unsure(self._wake)
        self._busy = False  # claiming or releasing
        self.claimed = asyncio.Event()  # set once it follows the watches that waited for it at the start
        self._tasks: asyncio.TaskGroup | None = None
        self.shares: Sequence[Share] = [(None, None)]
        self._over_share = over_share or Wake()

    @property
    def feeds(self) -> Mapping[str, Feed]:
        """Return the feeds by source."""
        return self._feeds

    @property
    def held(self) -> int | None:
        """Return how many watches are followed; None while the store is about to change that."""
        return None if self._busy or self.unsure else len(self)

    @property
    def connect_rate(self) -> float:
        """Return the number of watches a second that this node can certainly connect."""
        return min((feed.connect_rate for feed in self._feeds.values()), default=1.0)

    def __len__(self) -> int:
        return len(self._orphans) + sum(map(len, self._feeds.values()))

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
        """Follow through these feeds. A feed that stays the same object goes on untouched."""
        for name in [name for name, feed in self._feeds.items() if feeds.get(name) is not feed]:
            removed = self._feeds.pop(name)
            if self._nodes is None:
                self._orphans.update((watch.pk, watch) for watch in removed.followed.watches())
            else:  # another node may have this source
                self.unsure.add(removed.followed.watches())
            removed.stop()
        for name, feed in feeds.items():
            if name not in self._feeds:
                self._feeds[name] = feed
                self._start(name)
        self._told -= self._feeds.keys()
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
        """Take over labels, metadata, endpoints, callbacks and variables of these."""
        for watch in watches:
            if watch.source in self._feeds:
                self._feeds[watch.source].describe(watch)
            elif watch.pk in self._orphans:
                self._orphans[watch.pk] = watch

    def look(self, pks: Iterable[int] | None) -> None:
        """Record that other nodes changed these watches; None: any of them."""
        if pks is None:
            self._compare = True
            pks = self._followed()
        self._changed |= set(pks)
        self._wake.set()

    def holds(self, sources: frozenset[str] | None) -> int:
        """Return how many watches of these sources, or of all, are followed."""
        return len(self) if sources is None else sum(len(self._feeds[name]) for name in sources & self._feeds.keys())

    def give_back(self, count: int, sources: frozenset[str] | None) -> None:
        """Release so many watches of these sources for other nodes to follow; those without a connection first."""
        chosen: list[Watch] = []
        for connected in (False, True):
            for feed in [feed for name, feed in self._feeds.items() if sources is None or name in sources]:
                chosen += feed.followed.some(count - len(chosen), connected=connected)
        for watch in chosen:
            self._feeds[watch.source].drop(watch.pk)
        self.unsure.add(chosen)

    def forget(self) -> None:
        """Stop following every watch: others own them now."""
        for feed in self._feeds.values():
            for watch in feed.followed.watches():
                feed.drop(watch.pk)
        self._orphans.clear()
        self.unsure.take()
        self._wake.set()

    def subscription(self, source: str, pk: int) -> Subscription | None:
        """Return the subscription of a watch while it is followed."""
        feed = self._feeds.get(source)
        return None if feed is None else feed.followed.get(pk)

    def _start(self, name: str) -> None:
        if self._tasks is not None:
            self._tasks.create_task(self._feeds[name].run(), name=f"feed {name}")

    async def _claim(self) -> None:
        loop = asyncio.get_running_loop()
        compare = loop.time() + COMPARE
        while True:
            self._wake.clear()
            if loop.time() >= compare:
                compare = loop.time() + COMPARE
                self._compare = True
            self._busy = True
            try:
                more = await self._turn()
            except StoreUnavailable:
                more = False  # the store has said so; the next look comes soon
            self._busy = False
            if more:
                continue
            self.claimed.set()
            await self._wake.wait(LOOK_AGAIN)

    async def _turn(self) -> bool:
        """Release watches that are not ours, claim others and follow them; return whether there may be more."""
        if self._nodes is not None:
            await self._follow_others(self._nodes)
        if self.unsure:
            await self._store.watches.release(self.unsure.take())
        more = False
        for sources, share in self.shares:
            count = CLAIM if share is None else min(CLAIM, share - self.holds(sources))
            if count <= 0:
                self._over_share.set()
                continue
            names = self._feeds.keys() if sources is None else self._feeds.keys() & sources
            claimed = await self._store.watches.claim(count, None if self._nodes is None else list(names))
            for watch in claimed:
                self._add(watch)
            more = more or len(claimed) == count == CLAIM
        return more

    def _followed(self) -> dict[int, Watch]:
        return {watch.pk: watch for feed in self._feeds.values() for watch in feed.followed.watches()}

    async def _follow_others(self, nodes: Nodes) -> None:
        """Follow the watches that the store says are ours, as the store describes them.

        A question that the store could not answer is asked the next time.
        """
        if self._compare:
            followed = self._followed()
            ours = await nodes.mine()
            self.drop([watch for pk, watch in followed.items() if pk not in ours])
            self.unsure.add(await nodes.look(sorted(ours - followed.keys())) if ours - followed.keys() else [])
            self._compare = False
        followed = self._followed() if self._changed else {}
        while self._changed:
            part = {self._changed.pop() for _ in range(min(LOOK, len(self._changed)))}
            try:
                seen = await nodes.look(sorted(part & followed.keys())) if part & followed.keys() else []
            except StoreUnavailable:
                self._changed |= part
                raise
            self.describe(seen)
            self.drop([followed[pk] for pk in (part & followed.keys()) - {watch.pk for watch in seen}])

    def _add(self, watch: Watch) -> None:
        if watch.source in self._feeds:
            self._feeds[watch.source].add(watch)
            return
        self._orphans[watch.pk] = watch
        if watch.source not in self._told:
            self._told.add(watch.source)
            log.warning("watch.no_source", source=watch.source, id=watch.id, hint=NO_SOURCE)
