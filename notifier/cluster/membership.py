"""This node among those that share a store: its heartbeat, its share of the watches, and the takeover from dead nodes.

No node talks to another. Each reads the same table every second and draws the same conclusions (`core/share.py`).
Notifications from other nodes (`on_message`) only make things happen sooner.
"""

from __future__ import annotations

import asyncio

import structlog

from notifier import __version__
from notifier.cluster.leadership import SharedEndpoints
from notifier.cluster.peers import Peers
from notifier.cluster.this_node import ThisNode
from notifier.core import share
from notifier.core.errors import StoreUnavailable
from notifier.core.model import Json, Micros
from notifier.deliver import Dispatcher
from notifier.follow import Watcher
from notifier.runtime.clock import Clock, boottime
from notifier.runtime.wake import Wake
from notifier.store import NodeList, Nodes

log = structlog.get_logger(__name__)

BEAT = 1.0  # seconds between heartbeats, at most
BEATS = 4  # heartbeats within `node.timeout`, at least
ALONE = 2.0  # times `node.timeout` of silence that are enough however late this node's own heartbeats come
HASTE = 0.25  # seconds between batches of released watches
PACE = 0.8  # releases, as a part of the rate at which other nodes can connect


class Membership:
    """Gives this node's heartbeat and keeps its share of the watches."""

    def __init__(
        self,
        *,
        nodes: Nodes,
        timeout: float,
        clock: Clock,
        watcher: Watcher,
        dispatcher: Dispatcher,
        endpoints: SharedEndpoints,
        wake: Wake,
        peers: Peers,
        this: ThisNode,
    ) -> None:
        """Take the seconds after which a silent node counts as dead (`timeout`).

        A `wake` ends the pause between two heartbeats. `peers` receives each heartbeat's answer.
        """
        self._nodes = nodes
        self._timeout = timeout
        self._clock = clock
        self._watcher = watcher
        self._dispatcher = dispatcher
        self._endpoints = endpoints
        self._this = this
        self._wake = wake
        self._peers = peers
        self._contact: float | None = None  # time since which there was no gap between heartbeats
        self._last = 0.0  # time of the last heartbeat
        # Each node's last heartbeat, when it was first seen, and the seconds since then in which this node was there.
        self._unchanged: dict[int, tuple[Micros, float, float]] = {}
        self._groups: list[share.Group] = []  # as of the last heartbeat
        self._gave = 0.0  # time of the last release of watches
        self._namesakes: set[int] = set()  # nodes of the same name that were logged

    async def run(self) -> None:
        """Give heartbeats until cancelled."""
        while True:
            busy = await self._turn()
            self._wake.clear()
            await self._wake.wait(HASTE if busy else min(BEAT, self._timeout / BEATS))

    async def join(self) -> None:
        """Give the first heartbeat; take over the store's time and this node's share. Raises StoreUnavailable."""
        await self._beat(joining=True)

    def on_message(self, message: Json) -> None:
        """Act on another node's notification; `{}` means that notifications may have been missed."""
        if message.get("from") == self._nodes.number:
            return
        if not message or message.get("watches"):
            self._wake.set()  # the share may have changed
            self._watcher.wake()
        if not message or "changed" in message:
            self._watcher.look(message.get("changed"))
        if not message or message.get("deliveries"):
            self._dispatcher.look()
        if not message or message.get("endpoints"):
            self._endpoints.wake()

    def on_lost(self) -> None:
        """Go on as a new node that owns nothing, since the others have declared this node dead."""
        log.warning(
            "node.lost",
            number=self._nodes.number,
            was=self._peers.latest.number if self._peers.latest is not None else None,
            hint="it gave no sign of life for node.timeout; others follow its watches now",
        )
        self._contact = None
        self._watcher.forget()
        self._dispatcher.forget()
        self._endpoints.wake()
        self._wake.set()

    async def leave(self) -> None:
        """Leave the watches and endpoints to the other nodes; the heartbeats go on."""
        self._watcher.forget()
        self._dispatcher.resign()
        try:
            async with asyncio.timeout(self._timeout):
                await self._nodes.release_all()
        except (StoreUnavailable, TimeoutError):
            log.warning("node.not_released", hint="the others take over after node.timeout")

    async def _turn(self) -> bool:
        """Give a heartbeat and act on the state of the others; return whether there is more to do soon."""
        try:
            nodes = await self._beat()
            await self._bury(nodes)
        except StoreUnavailable:
            self._contact = None  # the store has logged it
            return False
        return self._balance(nodes)

    async def _beat(self, *, joining: bool = False) -> NodeList:
        began, asked = boottime(), self._clock()
        sources = list(self._watcher.feeds) or None  # none is installed yet when the node joins
        status = self._this.status()
        if joining:
            del status["sources"]  # the others wait for it meanwhile
        nodes = await self._nodes.beat(held=self._watcher.held, status=status, sources=sources)
        self._clock.correct(nodes.now, asked, self._clock())
        if self._contact is None or began - self._last > self._timeout / 2:
            self._contact = began
        there = min(began - self._last, self._timeout / BEATS)  # between two heartbeats it may have been suspended
        self._last = began
        known, self._unchanged = self._unchanged, {}
        for peer in nodes.peers:
            seen_at, first, alone = known.get(peer.number, (None, began, 0.0))
            same = seen_at == peer.seen_at
            self._unchanged[peer.number] = (peer.seen_at, first, alone + there) if same else (peer.seen_at, began, 0.0)
        takers = share.takers(nodes.peers, nodes.now)
        self._groups = share.groups(nodes.number, __version__, self._watcher.feeds.keys(), takers)
        shares = [(group.sources, _fair(group, nodes)) for group in self._groups]
        if shares != self._watcher.shares:
            self._watcher.shares = shares
            self._watcher.wake()
        self._log_changes(nodes)
        self._peers.update(nodes)
        return nodes

    async def _bury(self, nodes: NodeList) -> None:
        """Take over from dead nodes, unless this node was away itself and could not see the others.

        If the database's clock is set forward, every node seems silent. So this node must have seen the silence itself.
        On a machine so slow that this node's own heartbeats are always late, a silence over many of them is proof too.
        """
        if self._contact is None:
            return
        present = self._last - self._contact >= self._timeout
        for peer in share.dead(nodes.peers, nodes.now):
            _, first, alone = self._unchanged[peer.number]
            if peer.number == nodes.number or self._last - first < peer.timeout / 2e6:
                continue
            if not present and alone < self._timeout * ALONE:
                continue
            if await self._nodes.bury(peer):
                log.warning("node.dead", name=peer.name, number=peer.number, held=peer.held, hint="its work is free")
                self._watcher.wake()
                self._dispatcher.look()
                self._endpoints.wake()
                self._wake.set()

    def _balance(self, nodes: NodeList) -> bool:
        """Release the watches beyond this node's share, no faster than others can connect."""
        busy, now, since = False, boottime(), self._gave
        for group in self._groups:
            others = [peer for peer in group.peers if peer.number != nodes.number]
            fair = _fair(group, nodes)
            beyond = share.excess(self._watcher.holds(group.sources), fair, others)
            busy = busy or beyond > 0
            if beyond <= 0 or _free(group, nodes) > self._watcher.connect_rate:
                continue  # the others have not claimed the last ones yet
            # In proportion to the time that has passed, since releases of other nodes wake this node out of turn.
            pace = PACE * self._watcher.connect_rate / max(1, share.givers(group.peers, fair))
            count = min(beyond, max(1, round(pace * HASTE)), int(pace * (now - since)))
            if count > 0:
                log.debug("node.gives_back", watches=count, beyond=beyond)
                self._gave = now
                self._watcher.give_back(count, group.sources)
        return busy

    def _log_changes(self, nodes: NodeList) -> None:
        latest = self._peers.latest
        before = {peer.number: peer for peer in latest.peers} if latest is not None else {}
        now = {peer.number: peer for peer in nodes.peers}
        for number in now.keys() - before.keys() - {nodes.number}:
            log.info("node.seen", name=now[number].name, number=number)
        for number in before.keys() - now.keys() - {nodes.number}:
            log.info("node.gone", name=before[number].name, number=number)
        # A namesake without heartbeats is this node itself, before it was killed and started again.
        for number in before.keys() & now.keys() - {nodes.number} - self._namesakes:
            living = now[number].seen_at != before[number].seen_at
            if living and nodes.number in now and now[number].name == now[nodes.number].name:
                self._namesakes.add(number)
                log.warning(
                    "node.namesake", name=now[number].name, number=number, hint="give each a node.name of its own"
                )


def _free(group: share.Group, nodes: NodeList) -> int:
    return nodes.unclaimed if group.sources is None else sum(nodes.free.get(name, 0) for name in group.sources)


def _fair(group: share.Group, nodes: NodeList) -> int:
    return share.share(group.peers, _free(group, nodes))
