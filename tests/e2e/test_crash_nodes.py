"""SIGKILL of one of three nodes at every named point of what nodes do for each other: nothing is lost.

The points are those of crash_points.py. Each life of the node is killed at one of them, while it joins, takes over from
the two others, which are killed as well, gives them their share again, or leaves.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest
from cluster import Cluster, cluster, finish
from crash_points import KILL_AT
from daemon_process import Daemon, Log, Start
from judge.order import causes
from recorded import note_kill
from test_nodes_faults import dice_of_the_day
from waits import measured_lag, until

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
        self.logs: list[tuple[str, Log]] = []  # of all lives of all nodes
        self.turn = 0

    async def live(self, point: str) -> int:
        """Have it do everything that nodes do for each other; return its exit code."""
        node = self.nodes.nodes["a"]
        node.env[KILL_AT] = point
        self._note_start("a")
        await node.launch()
        self.logs.append(("a", node.log))
        await self._until(node, lambda: bool(node.log.events("daemon.ready")), "it is ready")
        self._push()
        await self._until(node, lambda: bool(self.nodes.upstream.following("a")), "it has its share")
        self._push()
        if not node.log.ended:
            await asyncio.gather(*map(self._kill, OTHERS))
            everything = set(self.tasks)
            await self._until(node, lambda: self.nodes.upstream.following("a") == everything, "it has taken over")
            await self.start_others()
            await self._until(node, lambda: self.nodes.upstream.following("a") != everything, "it has given back")
            self._push()
        node.signal(signal.SIGTERM)
        code = await node.ended()
        note_kill(self.nodes.upstream.scribe, "a")
        return code

    async def start_others(self) -> None:
        """Start the others."""
        for name in OTHERS:
            self._note_start(name)
        await self.nodes.start(*OTHERS)
        self.logs += [(name, self.nodes.nodes[name].log) for name in OTHERS]

    def _note_start(self, name: str) -> None:
        self.nodes.upstream.scribe.did("start", name)

    async def _kill(self, name: str) -> None:
        await self.nodes.nodes[name].kill()
        note_kill(self.nodes.upstream.scribe, name)

    async def _until(self, node: Daemon, holds: Callable[[], bool], what: str) -> None:
        await until(lambda: node.log.ended or holds(), what)

    def _push(self) -> None:
        """Have every task change its state."""
        self.turn += 1
        for task in self.tasks:
            self.nodes.upstream.push(task, ("queueing", "processing")[self.turn % 2])


@pytest.mark.slow
async def test_nothing_is_lost_wherever_one_of_three_is_killed(
    daemons: Start, shared_url: str, record_property: Callable[[str, object], None]
) -> None:
    """The others, or it itself, finish its work, and the judge has nothing to say."""
    dice = dice_of_the_day()
    async with cluster(daemons, shared_url) as (nodes, ledger), measured_lag() as lag:
        for name in ("a", *OTHERS):
            nodes.make(name)
        victim = Victim(nodes, [f"task-{number}" for number in range(TASKS)])
        await victim.start_others()
        assert await nodes.add("b", TASKS) == victim.tasks
        for point in AMONG_NODES:
            code = await victim.live(point)
            assert code == -signal.SIGKILL, f"{point} was never reached"
        await finish(nodes.upstream, ledger, victim.tasks, dice)
        await nodes.settled()
        case = await asyncio.to_thread(nodes.judged, ledger, lag=lag(), logs=victim.logs)
        told = f"{len(AMONG_NODES)} points, {len(case.events)} events, repeats by {causes(case)}"
        record_property("crash points of nodes", told)
        print(told)
