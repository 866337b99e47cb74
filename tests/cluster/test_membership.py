"""A node among others, with real stores in one process: it buries the dead, releases watches, sends only its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import psycopg
import pytest
from parts import ScriptedSender, claimed, endpoint, route
from store_rig import T0, wanted
from structlog.testing import capture_logs
from waits import until

from notifier.cluster import Membership, Peers, Readiness, RowCounts, SharedEndpoints, ThisNode, membership
from notifier.core import machine
from notifier.core.model import Observation, Phase
from notifier.deliver import Dispatcher, EndpointSetup
from notifier.follow.recorder import Recorder
from notifier.follow.watcher import Watcher
from notifier.runtime.clock import Clock
from notifier.runtime.metrics import Metrics
from notifier.runtime.wake import Wake
from notifier.store import Store

TIMEOUT = 1.0  # seconds


class LeasedStore(Store):
    """A store whose lease a test may end or prolong."""

    lease: bool | None = None  # None: as it is

    def holds(self) -> bool:
        return super().holds() if self.lease is None else self.lease


class Node:
    """A node without sources: what it follows is claimed by hand."""

    def __init__(self, store: LeasedStore) -> None:
        assert store.nodes is not None
        self.store = store
        self.nodes = store.nodes
        self.clock = Clock()
        self.sender = ScriptedSender()
        metrics = Metrics()
        self.dispatcher = Dispatcher(
            store=store,
            metrics=metrics,
            clock=self.clock,
            look_again=600.0,  # each look is a sign of life
        )
        self.recorder = Recorder(store=store, outbox=self.dispatcher, metrics=metrics, clock=self.clock)
        self.recorder.routes = [route("app")]
        setups = {"app": EndpointSetup(sender=self.sender, policy=endpoint())}
        self.dispatcher.set_endpoints(setups, self.recorder.announce_or_log)
        wake, self.peers = Wake(), Peers()
        self.watcher = Watcher(store=store, nodes=self.nodes, over_share=wake)
        self.membership = Membership(
            nodes=self.nodes,
            timeout=TIMEOUT,
            clock=self.clock,
            watcher=self.watcher,
            dispatcher=self.dispatcher,
            endpoints=SharedEndpoints(nodes=self.nodes, dispatcher=self.dispatcher, wake=Wake()),
            wake=wake,
            peers=self.peers,
            this=ThisNode(
                name="test",
                timeout=TIMEOUT,
                started_at=self.clock(),
                store=store,
                readiness=Readiness(),
                dispatcher=self.dispatcher,
                watcher=self.watcher,
                metrics=metrics,
                row_counts=RowCounts(store.lists, clock=self.clock),
                recorder=self.recorder,
            ),
        )

    async def observe(self, task: str, state: str = "processing") -> None:
        """Want a watch, claim it, and record a state of it."""
        await self.store.watches.apply([wanted(task)], origin="api", now=T0)
        [watch] = await self.store.watches.claim(1)
        await self.recorder.record(
            machine.step(watch, Observation(state=state, phase=Phase.RUNNING, task={}), self.clock())
        )


@asynccontextmanager
async def node(url: str, name: str, *, member: bool = True, lease: bool | None = None) -> AsyncIterator[Node]:
    """Run a node; one that is no `member` says nothing by itself."""
    store = await asyncio.to_thread(lambda: LeasedStore.open(url, name=name, timeout=TIMEOUT))
    store.lease = lease
    made = Node(store)
    writing = asyncio.create_task(store.run(lost=made.membership.on_lost), name=f"store {name}")
    loops = [asyncio.create_task(made.dispatcher.run(), name="dispatcher")]
    if member:
        loops.append(asyncio.create_task(made.membership.run(), name="membership"))
    try:
        async with asyncio.timeout(100):
            yield made
    finally:
        for task in loops:
            task.cancel()
        await asyncio.wait(loops)
        await made.dispatcher.close()
        await store.close()
        await writing
        store.shutdown()


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


async def moved(url: str, statement: str) -> None:
    """Return once the answer is another."""
    before = query(url, statement)
    await until(lambda: query(url, statement) != before)


def names(url: str) -> set[object]:
    return {name for (name,) in query(url, "SELECT name FROM nodes")}


@pytest.mark.parametrize("ago", [3600, -3600], ids=["long ago", "before the clock was set back"])
async def test_the_silent_are_buried_by_those_who_saw_it(shared_url: str, ago: int) -> None:
    """Not by one that has just come, and finds a row of another time; but after as long as it takes to be sure."""
    async with node(shared_url, "silent", member=False) as silent:
        await claimed(silent.dispatcher.endpoints["app"])
        query(shared_url, f"UPDATE nodes SET seen_at = seen_at - {ago * 1_000_000}")
        async with node(shared_url, "new") as new:
            await until(lambda: new.peers.latest is not None)
            assert names(shared_url) == {"silent", "new"}
            await until(lambda: names(shared_url) == {"new"})
            contact = "SELECT seen_at - started_at FROM nodes WHERE name = 'new'"
            [(seen,)] = query(shared_url, contact)
            assert isinstance(seen, int)
            assert seen >= TIMEOUT * 0.9e6


async def test_a_node_whose_heartbeats_are_always_late_buries_the_silent(
    shared_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that is too slow for node.timeout: after a silence over several times as many heartbeats."""
    late = TIMEOUT * 0.8  # between heartbeats: after so long a gap a node may have been suspended
    beats = count(1000.0, late)
    monkeypatch.setattr(membership, "boottime", lambda: next(beats))
    async with node(shared_url, "silent", member=False) as silent, node(shared_url, "slow", member=False) as slow:
        for each in (silent, slow):
            await claimed(each.dispatcher.endpoints["app"])
        query(shared_url, "UPDATE nodes SET seen_at = seen_at - 3600000000 WHERE name = 'silent'")
        for _ in range(round(membership.ALONE * membership.BEATS)):
            await slow.membership._turn()
            assert names(shared_url) == {"silent", "slow"}
        await slow.membership._turn()
        assert names(shared_url) == {"slow"}


async def test_a_living_namesake_is_warned_of(shared_url: str) -> None:
    """Once by each of them; not of the row that is left of one that was killed, which gives no more signs of life."""
    with capture_logs() as logs:

        def told() -> list[int]:
            return [entry["number"] for entry in logs if entry["event"] == "node.namesake"]

        async with node(shared_url, "a", member=False) as killed:
            await claimed(killed.dispatcher.endpoints["app"])
            async with node(shared_url, "a") as one:
                await until(lambda: any(entry["event"] == "node.dead" for entry in logs))
                assert told() == []
                async with node(shared_url, "a") as two:
                    await until(lambda: len(told()) == 2)
                    for _ in range(3):
                        await moved(shared_url, "SELECT min(seen_at) FROM nodes")
                    assert sorted(told()) == sorted([one.nodes.number, two.nodes.number])


async def test_a_leap_of_the_databases_clock_buries_nobody(shared_url: str) -> None:
    """Every node seems to have been silent for an hour, but a node that looked every second knows better."""
    async with node(shared_url, "a") as a, node(shared_url, "b") as b:
        contact = f"SELECT min(seen_at - started_at) > {2 * TIMEOUT * 1e6:.0f} FROM nodes"
        await until(lambda: query(shared_url, contact) == [(True,)])
        numbers = {a.nodes.number, b.nodes.number}
        for _ in range(20):
            query(shared_url, "UPDATE nodes SET seen_at = seen_at - 3600000000")
            await b.membership._turn()
            await a.membership._turn()
        assert {a.nodes.number, b.nodes.number} == numbers
        assert names(shared_url) == {"a", "b"}


async def test_what_was_claimed_before_a_node_was_lost_is_neither_sent_nor_settled(shared_url: str) -> None:
    """Waiting deliveries are forgotten. An attempt under way settles nothing, even if its delivery is claimed again."""
    async with node(shared_url, "a", member=False, lease=True) as a:
        a.sender.open.clear()
        await a.observe("1")
        await until(lambda: len(a.sender.begun) == 1)
        async with node(shared_url, "b", member=False) as b:
            query(shared_url, "UPDATE nodes SET seen_at = seen_at - 3600000000 WHERE name = 'a'")
            [peer] = [peer for peer in (await b.nodes.beat(held=0, status={})).peers if peer.name == "a"]
            b.store.lease = False
            assert await b.nodes.bury(peer)
            number = a.nodes.number
            await a.nodes.beat(held=0, status={})
            assert a.nodes.number != number
            query(shared_url, f"UPDATE deliveries SET owner = {a.nodes.number}")  # as if claimed by its new self
            a.sender.open.set()
            await until(lambda: not a.sender.under_way)
            await a.nodes.beat(held=0, status={})
            assert query(shared_url, "SELECT status, owner FROM deliveries") == [("ready", a.nodes.number)]
            assert query(shared_url, "SELECT count(*) FROM attempts") == [(0,)]


async def test_a_lease_that_ran_out_sends_nothing_until_it_is_renewed(shared_url: str) -> None:
    """Claimed deliveries stay in memory, and are sent after the next heartbeat."""
    async with node(shared_url, "a", member=False, lease=False) as a:
        await a.observe("1")
        await until(lambda: a.dispatcher.endpoints["app"].waiting > 0)
        assert not a.sender.begun
        a.store.lease = None
        await until(lambda: len(a.sender.begun) == 1)
