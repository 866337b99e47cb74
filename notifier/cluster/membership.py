"""This node among those that share a store: signs of life, its share of the watches, and what dead nodes leave behind.

No node talks to another; everyone reads the same table every second and draws the same conclusions (`core/share.py`).
What nodes say through the store (`hear`) only makes things happen sooner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from notifier.cluster.leadership import Sharing
from notifier.core import share
from notifier.core.errors import StoreUnavailable
from notifier.core.model import Json, Micros
from notifier.deliver.dispatcher import Dispatcher
from notifier.follow.watcher import Watcher
from notifier.runtime.clock import Clock, boottime
from notifier.store.cluster import Nodes
from notifier.store.values import NodeList

log = structlog.get_logger(__name__)

BEAT = 1.0  # seconds between signs of life, at most
BEATS = 4  # in the time after which a node counts as dead, at least
HASTE = 0.25  # seconds between batches of watches that are let go
PACE = 0.8  # of the rate at which whoever takes them over can connect


class Membership:
    """What the node thinks of itself and the others."""

    def __init__(
        self,
        *,
        nodes: Nodes,
        timeout: float,
        clock: Clock,
        watcher: Watcher,
        dispatcher: Dispatcher,
        sharing: Sharing,
        rate: Callable[[], float],
        status: Callable[[], Json],
    ) -> None:
        """Make ready; `timeout` in seconds; `rate` tells how many watches a second a node can connect."""
        self._nodes = nodes
        self._timeout = timeout
        self._clock = clock
        self._watcher = watcher
        self._dispatcher = dispatcher
        self._sharing = sharing
        self._rate = rate
        self._status = status
        self._wake = asyncio.Event()
        self._contact: float | None = None  # since when there was no gap between signs of life
        self._last = 0.0  # sign of life
        self._unchanged: dict[int, tuple[Micros, float]] = {}  # since when each node's last sign of life is the last
        self._gave = 0.0  # when watches were last let go
        self.census: NodeList | None = None  # the latest
        self._namesakes: set[int] = set()  # that have been told of
        watcher.full = self._wake.set

    async def run(self) -> None:
        """Give signs of life until cancelled."""
        while True:
            busy = await self._turn()
            self._wake.clear()
            try:
                async with asyncio.timeout(HASTE if busy else min(BEAT, self._timeout / BEATS)):
                    await self._wake.wait()
            except TimeoutError:
                pass  # it is time for another

    async def join(self) -> None:
        """Give the first sign of life, and learn the time and this node's share. Raises StoreUnavailable."""
        await self._beat()

    def hear(self, said: Json) -> None:
        """Hear what another node said; `{}`: something may have gone unheard."""
        if said.get("from") == self._nodes.number:
            return
        if not said or said.get("watches"):
            self._wake.set()  # there may be another share now
            self._watcher.wake()
        if not said or "changed" in said:
            self._watcher.look(said.get("changed"))
        if not said or said.get("deliveries"):
            self._dispatcher.look()
        if not said or said.get("endpoints"):
            self._sharing.wake()

    def lost(self) -> None:
        """Hear that this node was taken for dead: it goes on as a new one, with nothing."""
        log.warning(
            "node.lost",
            number=self._nodes.number,
            was=self.census.number if self.census is not None else None,
            hint="it gave no sign of life for node.timeout; others follow its watches now",
        )
        self._contact = None
        self._watcher.forget()
        self._dispatcher.forget()
        self._sharing.wake()
        self._wake.set()

    async def leave(self) -> None:
        """Let the other nodes have the watches and the endpoints; the signs of life go on."""
        self._watcher.forget()
        self._dispatcher.resign()
        try:
            async with asyncio.timeout(self._timeout):
                await self._nodes.release_all()
        except (StoreUnavailable, TimeoutError):
            log.warning("node.not_released", hint="the others take over after node.timeout")

    async def _turn(self) -> bool:
        """Say that this node lives, and do what the others' state asks for; say whether there is more to do soon."""
        try:
            census = await self._beat()
            await self._bury(census)
        except StoreUnavailable:
            self._contact = None  # the store has said so
            return False
        return self._balance(census)

    async def _beat(self) -> NodeList:
        began, asked = boottime(), self._clock()
        sources = list(self._watcher.feeds) or None  # when it joins, none is installed yet
        census = await self._nodes.beat(held=self._watcher.held, status=self._status(), sources=sources)
        self._clock.correct(census.now, asked, self._clock())
        if self._contact is None or began - self._last > self._timeout / 2:
            self._contact = began
        self._last = began
        known = self._unchanged
        self._unchanged = {
            peer.number: known[peer.number]
            if known.get(peer.number, (None,))[0] == peer.seen_at
            else (peer.seen_at, began)
            for peer in census.peers
        }
        fair = share.share(share.takers(census.peers, census.now), census.unclaimed)
        if fair != self._watcher.share:
            self._watcher.share = fair
            self._watcher.wake()
        self._tell_changes(census)
        self.census = census
        return census

    async def _bury(self, census: NodeList) -> None:
        """Take over from the dead, unless it was this node that was away: then the others were not seen either.

        The database's clock may be set forward, and everyone seem silent: so a node's silence must have been seen here.
        """
        if self._contact is None or self._last - self._contact < self._timeout:
            return
        for peer in share.dead(census.peers, census.now):
            silent = self._last - self._unchanged[peer.number][1]
            if peer.number == census.number or silent < peer.timeout / 2e6:
                continue
            if await self._nodes.bury(peer):
                log.warning("node.dead", name=peer.name, number=peer.number, held=peer.held, hint="its work is free")
                self._watcher.wake()
                self._dispatcher.look()
                self._sharing.wake()
                self._wake.set()

    def _balance(self, census: NodeList) -> bool:
        """Let go of what is beyond this node's share, no faster than others can connect."""
        takers = share.takers(census.peers, census.now)
        others = [peer for peer in takers if peer.number != census.number]
        fair = share.share(takers, census.unclaimed)
        beyond = share.excess(len(self._watcher), fair, others)
        if beyond <= 0 or census.unclaimed > self._rate():  # what was let go before has not been taken up yet
            return beyond > 0
        # By the time that has passed: what the others let go wakes this node as well, more often than it is its turn.
        pace = PACE * self._rate() / max(1, share.givers(takers, fair))
        now = boottime()
        count = min(beyond, max(1, round(pace * HASTE)), int(pace * (now - self._gave)))
        if count > 0:
            log.debug("node.gives_back", watches=count, beyond=beyond)
            self._gave = now
            self._watcher.give_back(count)
        return True

    def _tell_changes(self, census: NodeList) -> None:
        before = {peer.number: peer for peer in self.census.peers} if self.census is not None else {}
        now = {peer.number: peer for peer in census.peers}
        for number in now.keys() - before.keys() - {census.number}:
            log.info("node.seen", name=now[number].name, number=number)
        for number in before.keys() - now.keys() - {census.number}:
            log.info("node.gone", name=before[number].name, number=number)
        # One that gives no more signs of life is this node as it was before it was killed.
        for number in before.keys() & now.keys() - {census.number} - self._namesakes:
            living = now[number].seen_at != before[number].seen_at
            if living and census.number in now and now[number].name == now[census.number].name:
                self._namesakes.add(number)
                log.warning(
                    "node.namesake", name=now[number].name, number=number, hint="give each a node.name of its own"
                )
