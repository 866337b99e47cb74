"""SIGKILL of one of three nodes at every named point of what nodes do for each other: nothing is lost.

The points are those of crash_points.py. Each life of the node is killed at one of them, while it joins, takes over from
the two others, which are killed as well, gives them their share again, or leaves.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

import pytest
from cluster import NODE_HEADER, Cluster, Ledger, cluster, finish
from crash_points import KILL_AT
from daemon_process import Daemon, Start
from test_nodes_faults import dice_of_the_day
from waits import until

STEPS = (
    *("join", "renew", "claim watches", "lead endpoints", "commit", "settle"),
    *("bury a node", "release watches", "hand over", "leave"),
)
AMONG_NODES = (
    *(f"{step}: {moment}" for step in STEPS for moment in ("saved", "committed")),
    *("send: before", "send: after", "stop: handed over", "stop: drained"),
)
TASKS = 12
OTHERS = ("b", "c")


class Victim:
    """The node `a`, and the nodes that are killed with it."""

    def __init__(self, nodes: Cluster, tasks: list[str]) -> None:
        self.nodes, self.tasks = nodes, tasks
        self.kills: list[tuple[float, str]] = []  # when, by time.time(), and which node
        self.turn = 0

    async def live(self, point: str) -> int:
        """Have it do everything that nodes do for each other; return its exit code."""
        node = self.nodes.nodes["a"]
        node.env[KILL_AT] = point
        await node.launch()
        await self._until(node, lambda: bool(node.log.events("daemon.ready")), "it is ready")
        self._push()
        await self._until(node, lambda: bool(self.nodes.upstream.following("a")), "it has its share")
        self._push()
        if not node.log.ended:
            await asyncio.gather(*map(self._kill, OTHERS))
            everything = set(self.tasks)
            await self._until(node, lambda: self.nodes.upstream.following("a") == everything, "it has taken over")
            await self.nodes.start(*OTHERS)
            await self._until(node, lambda: self.nodes.upstream.following("a") != everything, "it has given back")
            self._push()
        node.signal(signal.SIGTERM)
        code = await node.ended()
        self.kills.append((time.time(), "a"))
        return code

    async def _kill(self, name: str) -> None:
        await self.nodes.nodes[name].kill()
        self.kills.append((time.time(), name))

    async def _until(self, node: Daemon, holds: Callable[[], bool], what: str) -> None:
        await until(lambda: node.log.ended or holds(), what)

    def _push(self) -> None:
        """Have every task change its state."""
        self.turn += 1
        for task in self.tasks:
            self.nodes.upstream.push(task, ("queueing", "processing")[self.turn % 2])


def explained(ledger: Ledger, kills: list[tuple[float, str]]) -> bool:
    """Return whether the first sender of everything that came twice was killed in between."""
    return all(
        any(before.at <= at <= again.at and node == before.headers[NODE_HEADER] for at, node in kills)
        for again, before in ledger.repeats
    )


@pytest.mark.slow
async def test_nothing_is_lost_wherever_one_of_three_is_killed(
    daemons: Start, shared_url: str, record_property: Callable[[str, object], None]
) -> None:
    """The others, or it itself, finish its work; what comes twice was under way."""
    dice = dice_of_the_day()
    async with cluster(daemons, shared_url, *OTHERS) as (nodes, ledger):
        nodes.make("a")
        victim = Victim(nodes, await nodes.add("b", TASKS))
        for point in AMONG_NODES:
            code = await victim.live(point)
            assert code == -signal.SIGKILL, f"{point} was never reached"
        await finish(nodes.upstream, ledger, victim.tasks, dice)
        await nodes.settled()
        ledger.check(nodes.stored())
        assert explained(ledger, victim.kills)
        told = f"{len(AMONG_NODES)} points, {len(ledger.first)} events, {len(ledger.repeats)} repeats"
        record_property("crash points of nodes", told)
        print(told)
