"""Endpoints that several nodes send to, on a real PostgreSQL: each node has a store of its own, all are in one loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import databases
import psycopg
import pytest
from parts import SOON_SILENT, ScriptedSender, clock, endpoint, observed, route
from waits import until

from notifier.cluster.leadership import SharedEndpoints
from notifier.core import machine
from notifier.core.breaker import State
from notifier.core.model import Delivery, EndpointState, NewWatch, Watch
from notifier.core.retry import Attempt, Delivered, Failed, Gone, Outcome
from notifier.deliver import Dispatcher, EndpointPolicy, EndpointSetup, Sender
from notifier.deliver.shared import SharedDestination
from notifier.follow.recorder import Recorder
from notifier.runtime.metrics import Metrics
from notifier.runtime.wake import Wake
from notifier.store import EventFilter, Store, listen
from notifier.store.node import leave

ROUTES = (route("app"), route("ops", events=("endpoint.*",)))


class Node:
    """The sending half of a daemon."""

    def __init__(self, store: Store, url: str) -> None:
        self.store, self.url = store, url
        nodes = store.nodes
        assert nodes is not None
        self.nodes = nodes
        wake = Wake()
        self.dispatcher = Dispatcher(
            store=store,
            metrics=Metrics(),
            clock=clock,
            saved=wake,
            look_again=1.0,
            silence=SOON_SILENT,
            shared=True,
        )
        self.recorder = Recorder(store=store, outbox=self.dispatcher, metrics=Metrics(), clock=clock, routes=ROUTES)
        self.shared_endpoints = SharedEndpoints(nodes=nodes, dispatcher=self.dispatcher, wake=wake)
        self.senders: dict[str, ScriptedSender] = {}
        self.loops: list[asyncio.Task[None]] = []

    def configure(self, **policies: EndpointPolicy) -> None:
        senders: dict[str, Sender] = {name: self.senders.setdefault(name, ScriptedSender()) for name in policies}
        self.dispatcher.set_endpoints(
            {name: EndpointSetup(sender=senders[name], policy=policy) for name, policy in policies.items()},
            self.recorder.announce_or_log,
        )

    async def start(self) -> None:
        self.dispatcher.recall(await self.store.endpoints.states())
        ears = listen(
            self.url,
            lambda said: self.shared_endpoints.wake() if not said or "endpoints" in said else None,
            timeout=10.0,
        )
        for name, loop in {"send": self.dispatcher.run(), "share": self.shared_endpoints.run(), "listen": ears}.items():
            self.loops.append(asyncio.create_task(loop, name=name))

    async def stop(self) -> None:
        for task in self.loops:
            task.cancel()
        await asyncio.wait(self.loops)

    def queue(self, name: str = "app") -> State:
        return self.dispatcher.endpoints[name].state

    def leads(self, name: str = "app") -> bool:
        shared = self.dispatcher.endpoints[name]
        assert isinstance(shared, SharedDestination)
        return shared.leading

    async def claim(self, *ids: str) -> list[Watch]:
        await self.store.watches.apply([NewWatch(source="vidu", id=id_) for id_ in ids], origin="api", now=clock())
        return await self.store.watches.claim(10_000)

    async def tell(self, *ids: str) -> None:
        """Have tasks succeed that this node follows."""
        for watch in await self.claim(*ids):
            await self.recorder.record(machine.step(watch, observed("success"), clock()))


@pytest.fixture
def url() -> Iterator[str]:
    """Name a database of nobody else's."""
    with databases.database() as made:
        yield made


@asynccontextmanager
async def sharing(url: str, count: int, **policies: EndpointPolicy) -> AsyncIterator[list[Node]]:
    """Run so many nodes with these endpoints."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(joined(url, f"n{n}")) for n in range(count)]
        for node in nodes:
            node.configure(**policies)
            await node.start()
            stack.push_async_callback(node.stop)
        async with asyncio.timeout(100):
            yield nodes


@asynccontextmanager
async def joined(url: str, name: str) -> AsyncIterator[Node]:
    store = await asyncio.to_thread(Store.open, url, name=name)
    node = Node(store, url)
    writing = asyncio.create_task(store.run(lost=node.dispatcher.forget), name="store")
    try:
        yield node
    finally:
        await store.close()
        await writing
        store.shutdown()


def answering(outcome: Callable[[Delivery], Outcome]) -> Callable[[Delivery], Attempt]:
    return lambda delivery: Attempt(at=clock(), outcome=outcome(delivery), seconds=0.0)


def leaders(nodes: Sequence[Node], name: str = "app") -> list[Node]:
    return [node for node in nodes if node.leads(name)]


def begun(nodes: Sequence[Node], name: str = "app") -> list[Delivery]:
    return [delivery for node in nodes for delivery in node.senders[name].begun]


async def kept(node: Node, name: str = "app") -> EndpointState:
    return next(state for state in await node.store.endpoints.states() if state.name == name)


def statuses(url: str) -> Counter[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        return Counter(connection.execute("SELECT endpoint, status FROM deliveries").fetchall())


async def told(node: Node) -> list[str]:
    """Return the types of operators' events, oldest first."""
    events = await node.store.lists.events(EventFilter(), limit=100)
    return [event["type"] for event in reversed(events) if event["type"].startswith("endpoint.")]


async def test_an_endpoint_with_a_rate_is_served_by_one_node(url: str) -> None:
    """Every node may observe for it; the others leave its deliveries to the store."""
    async with sharing(url, 3, app=endpoint(rate_limit=50.0)) as nodes:
        await until(lambda: len(leaders(nodes)) == 1)
        for n, node in enumerate(nodes):
            await node.tell(*(f"{n}-{k}" for k in range(5)))
        (leader,) = leaders(nodes)
        await until(lambda: statuses(url) == {("app", "delivered"): 15})
        assert len(leader.senders["app"].begun) == 15
        assert leaders(nodes) == [leader], "the lead stays where it is"


async def test_an_endpoint_without_a_rate_is_served_by_all(url: str) -> None:
    """Each sends what it observed, by the fast path."""
    async with sharing(url, 2, app=endpoint()) as nodes:
        await nodes[0].tell("1")
        await nodes[1].tell("2")
        await until(lambda: [len(node.senders["app"].begun) for node in nodes] == [1, 1])
        assert leaders(nodes) == []


async def test_the_lead_of_a_node_that_leaves_is_taken_up(url: str) -> None:
    """At once, and the new leader waits as if it had sent a moment ago."""
    async with sharing(url, 1, app=endpoint(rate_limit=5.0)) as (first,):
        await until(lambda: first.leads())
        async with sharing(url, 1, app=endpoint(rate_limit=5.0)) as (second,):
            await second.tell("1")
            await until(lambda: bool(first.senders["app"].begun))
            assert not second.leads()
            first.loops[1].cancel()  # it would take the lead again
            first.dispatcher.resign()
            await first.nodes.release_all()
            await until(lambda: second.leads())
            await second.tell("2", "3")
            await until(lambda: len(second.senders["app"].begun) == 2)


async def test_a_dead_nodes_lead_is_free(url: str) -> None:
    """The node that declares it dead frees its leads, with its watches and deliveries."""
    async with sharing(url, 1, app=endpoint(rate_limit=5.0)) as (alive,):
        async with joined(url, "dead") as dead:
            dead.configure(app=endpoint(rate_limit=5.0), ops=endpoint(rate_limit=5.0))
            await dead.nodes.lead(dead.dispatcher.leader_requests())
            assert (await kept(dead, "ops")).leader == dead.nodes.number
            census = await alive.nodes.beat(held=0, status={})
            (peer,) = [peer for peer in census.peers if peer.name == "dead"]
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("UPDATE nodes SET seen_at = 0 WHERE number = %s", [peer.number])
            assert await alive.nodes.bury(peer)
            assert (await kept(alive, "ops")).leader is None
        alive.configure(app=endpoint(rate_limit=5.0), ops=endpoint(rate_limit=5.0))
        await until(lambda: alive.leads("ops"))


async def test_a_disabled_endpoint_is_disabled_everywhere_and_told_once(url: str) -> None:
    """By hand on one node; enabled on another; what was for it is kept and flows."""
    async with sharing(url, 2, app=endpoint(), ops=endpoint()) as nodes:
        one, two = nodes
        await one.dispatcher.endpoints["app"].disable("operator", "by hand")
        await until(lambda: two.queue() is State.DISABLED)
        await two.dispatcher.endpoints["app"].disable("operator", "by hand")
        await two.tell("1")
        await one.tell("2")
        await two.dispatcher.endpoints["app"].enable()
        await until(lambda: one.queue() is State.CLOSED)
        await until(lambda: statuses(url)["app", "delivered"] == 2)
        assert await told(one) == ["endpoint.disabled", "endpoint.recovered"]
        await until(lambda: statuses(url)["ops", "delivered"] == 2)


async def test_410_met_by_two_nodes_at_once_is_told_once(url: str) -> None:
    """Both stop; one of them has told."""
    async with sharing(url, 2, app=endpoint(), ops=endpoint()) as nodes:
        for node in nodes:
            node.senders["app"].answer = answering(lambda _: Gone(reason="http_410", detail="gone"))
            node.senders["app"].open.clear()
        await nodes[0].tell("1")
        await nodes[1].tell("2")
        await until(lambda: len(begun(nodes)) == 2)
        for node in nodes:
            node.senders["app"].open.set()
        await until(lambda: all(node.queue() is State.DISABLED for node in nodes))
        await until(lambda: statuses(url) == {("app", "ready"): 2, ("ops", "delivered"): 1})
        assert await told(nodes[0]) == ["endpoint.disabled"]


async def test_what_is_disabled_elsewhere_meanwhile_stays_disabled(url: str) -> None:
    """The outcomes of attempts that were under way on another node do not enable it."""
    async with sharing(url, 2, app=endpoint(schedule=(0.0, 60.0))) as (one, two):
        one.senders["app"].answer = answering(lambda _: Failed(reason="http_500", detail=""))
        one.senders["app"].open.clear()
        await one.tell(*map(str, range(6)))
        await until(lambda: len(one.senders["app"].begun) == 6)
        two.shared_endpoints.wake()
        await two.dispatcher.endpoints["app"].disable("operator", "by hand")
        one.senders["app"].open.set()
        await until(lambda: one.queue() is State.DISABLED)
        await until(lambda: statuses(url)["app", "ready"] == 6)
        assert (await kept(one)).reason == "operator"


async def test_an_outage_met_by_one_node_holds_all_back_and_one_probes(url: str) -> None:
    """Its end closes the breaker everywhere; operators hear once that it answers again."""
    well = asyncio.Event()

    def answer(_: Delivery) -> Outcome:
        return Delivered() if well.is_set() else Failed(reason="http_503", detail="")

    # A second until the next attempt: by then the other nodes have heard of the outage.
    calm = endpoint(schedule=(0.0,) + (1.0,) * 500)
    async with sharing(url, 3, app=calm, ops=endpoint()) as nodes:
        for node in nodes:
            node.senders["app"].answer = answering(answer)
        await nodes[0].tell(*map(str, range(8)))
        await until(lambda: all(node.queue() in (State.OPEN, State.HALF_OPEN) for node in nodes))
        assert begun(nodes[1:]) == [] or len(begun(nodes[1:])) < 4, "the others did not have to find out"
        await until(lambda: len(leaders(nodes)) == 1)
        before = len(begun(nodes))
        for n, node in enumerate(nodes):  # more of it changes nothing
            await node.tell(*(f"{n}-{k}" for k in range(5)))
        assert len(begun(nodes)) <= before + 2, "nothing but probes goes out"
        well.set()
        await until(lambda: statuses(url)["app", "delivered"] == 23)
        await until(lambda: all(node.queue() is State.CLOSED for node in nodes))
        assert await told(nodes[0]) == ["endpoint.recovered"]
        assert (await kept(nodes[0])).failing_since is None


async def test_probes_go_round(url: str) -> None:
    """A node that alone cannot reach an endpoint does not keep the others from it."""
    async with sharing(url, 2, app=endpoint(schedule=(0.0,) + (0.02,) * 500)) as (cut_off, other):
        cut_off.senders["app"].answer = answering(lambda _: Failed(reason="connect", detail=""))
        await cut_off.tell(*map(str, range(6)))
        await until(lambda: statuses(url)["app", "delivered"] == 6)
        assert len(other.senders["app"].begun) >= 1


async def test_what_an_endpoint_asks_of_one_node_all_obey(url: str) -> None:
    """A 429 with its time, while others would have more to send."""
    asked = Failed(reason="http_429", detail="", retry_after=3.0, throttle=True, spend=False)
    async with sharing(url, 2, app=endpoint()) as (one, two):
        answers: list[Outcome] = [asked]
        at: list[int] = []

        def answer(_: Delivery) -> Outcome:
            at.append(clock())
            return answers.pop() if answers else Delivered()

        for node in (one, two):
            node.senders["app"].answer = answering(answer)
        began = clock()
        await one.tell("1")
        await until(lambda: two.queue() is State.THROTTLED)
        await two.tell("2")
        await until(lambda: statuses(url) == {("app", "delivered"): 2})
        assert len(at) == 3
        assert min(at[1:]) >= began + 3_000_000


async def test_a_rate_that_is_new_finds_one_leader(url: str) -> None:
    """A reload may bring it: what waits in memory elsewhere is left to the leader."""
    async with sharing(url, 2, app=endpoint(max_in_flight=1)) as nodes:
        for node in nodes:
            node.senders["app"].open.clear()
        await nodes[0].tell(*map(str, range(4)))
        await nodes[1].tell(*map(str, range(4, 8)))
        await until(lambda: len(begun(nodes)) == 2)
        for node in nodes:
            node.configure(app=endpoint(max_in_flight=1, rate_limit=100.0))
        await until(lambda: len(leaders(nodes)) == 1)
        for node in nodes:
            node.senders["app"].open.set()
        await until(lambda: statuses(url) == {("app", "delivered"): 8})
        (leader,) = leaders(nodes)
        (other,) = [node for node in nodes if node is not leader]
        assert len(other.senders["app"].begun) == 1, "what was under way, and no more"


async def test_a_node_without_the_endpoint_does_not_keep_its_lead(url: str) -> None:
    """A reload may take it away on one node before the other."""
    async with sharing(url, 2, app=endpoint(rate_limit=50.0), ops=endpoint()) as nodes:
        await until(lambda: len(leaders(nodes)) == 1)
        (leader,) = leaders(nodes)
        (other,) = [node for node in nodes if node is not leader]
        leader.configure(ops=endpoint())
        await until(lambda: other.leads())
        await other.tell("1")
        await until(lambda: len(other.senders["app"].begun) == 1)
        leader.configure(app=endpoint(rate_limit=50.0), ops=endpoint())
        assert not leader.leads(), "it is another's now"


@pytest.mark.parametrize(
    "met", [Failed(reason="timeout", detail="x"), Gone(reason="gone", detail="x")], ids=["failed", "gone"]
)
async def test_what_an_endpoint_said_counts_though_its_node_was_taken_for_dead(url: str, met: Outcome) -> None:
    """Its deliveries are others' by then. Of what it met they would never know, and nobody would try it again."""
    ways = {"app": endpoint(max_in_flight=8), "ops": endpoint()}
    async with sharing(url, 1, **ways) as (node,), joined(url, "undertaker") as undertaker:
        sender = node.senders["app"]
        answers = iter([met] * 6)
        sender.answer = answering(lambda _: next(answers, Delivered()))
        sender.open.clear()
        await node.tell(*"abcdef")
        await until(lambda: len(sender.begun) == 6)
        with undertaker.store._database.writing.begin() as connection:
            assert leave(connection, node.nodes.number)
        sender.open.set()
        if isinstance(met, Gone):
            await until(lambda: node.queue() is State.DISABLED)
            await until(lambda: ("ops", "delivered") in statuses(url))
            assert await told(node) == ["endpoint.disabled"]
            assert (await kept(node)).disabled_at is not None
        else:
            await until(lambda: statuses(url)["app", "delivered"] == 6)
