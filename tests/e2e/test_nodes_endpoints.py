"""Limits and breakers that protect a third party hold across nodes, also when one of them is killed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import combinations

import databases
import pytest
from daemon_process import SECRET, Daemon, Fields, Start, config, webhook
from flaky_receiver import FlakyReceiver
from receiver import Receiver
from waits import PATIENCE, slowness

from notifier.tools.callback import ReceivedCallback
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import parse_spec

TIMEOUT = 2.0  # node.timeout, in seconds
TARDY = 1.0  # seconds by which an arrival may be late on a busy machine
TASKS = [f"task-{n}" for n in range(60)]


class Arrivals:
    """When callbacks came."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.tasks: set[str] = set()

    def enter(self, callback: ReceivedCallback) -> None:
        """Take one."""
        self.at.append(asyncio.get_running_loop().time())
        named = re.search(rb"task-\d+", callback.body)  # Slack knows no ids
        assert named is not None
        self.tasks.add(named.group().decode())

    def check(self, rate: float) -> None:
        """See that nowhere more came than the rate allows, and one."""
        for (i, a), (j, b) in combinations(enumerate(self.at), 2):
            assert j - i <= 1 + rate * (b - a + TARDY), f"{j - i + 1} within {b - a:.2f} s"


@pytest.fixture
def store() -> Iterator[str]:
    """Name a PostgreSQL database of nobody else's."""
    with databases.database() as url:
        yield url


@asynccontextmanager
async def cluster(
    daemons: Start, count: int, store: str, sim: Simulator, endpoints: Fields
) -> AsyncIterator[list[Daemon]]:
    """Start so many nodes with the same configuration."""
    nodes = []
    for n in range(count):
        settings = config(
            upstream=sim.base_url,
            endpoints=endpoints,
            store={"url": store},
            node={"name": f"n{n}", "timeout": f"{TIMEOUT}s"},
        )
        nodes.append(daemons(settings, name=f"n{n}"))
    for node in nodes:
        await node.start()
    yield nodes


async def leader(nodes: Sequence[Daemon], name: str = "app") -> Daemon:
    """Return the node that leads an endpoint, once one does."""
    waiting = {asyncio.create_task(node.log.wait("endpoint.lead")): node for node in nodes}
    done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    first = done.pop()
    assert first.result()["endpoint"] == name
    assert first.result()["leading"] is True
    return waiting[first]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["webhook", "slack"])
async def test_a_rate_holds_over_nodes_and_over_the_death_of_the_leader(daemons: Start, store: str, kind: str) -> None:
    """Many at once, by whichever node: all arrive, at no time more than the limit and one."""
    rate = 10.0 if kind == "webhook" else 1.0
    tasks = TASKS if kind == "webhook" else TASKS[:12]
    arrivals = Arrivals()
    transcripts = {task: parse_spec("success") for task in tasks}
    async with Simulator(transcripts=transcripts) as sim, Listener(respond="200", on_callback=arrivals.enter) as ears:
        if kind == "webhook":
            endpoint = webhook(ears.url, SECRET, rate_limit="10/s", events=["task.succeeded"])
        else:
            endpoint = {"type": "slack", "url": ears.url, "events": ["task.succeeded"]}
        async with cluster(daemons, 3, store, sim, {"app": endpoint}) as nodes:
            first = await leader(nodes)
            status, _ = await nodes[0].post("/v1/watches", [{"source": "vidu", "id": task} for task in tasks])
            assert status == 201
            await ears.wait(len(tasks) // 3)
            await first.kill()
            killed, before = asyncio.get_running_loop().time(), len(arrivals.at)
            others = [node for node in nodes if node is not first]
            await leader(others)
            taken_over = asyncio.get_running_loop().time() - killed
            await ears.wait_for(lambda _: len(arrivals.tasks) >= len(tasks), timeout=PATIENCE)
            assert before < len(tasks), "it was killed midway"
            assert taken_over < (TIMEOUT + 2 + TARDY) * slowness()
            arrivals.check(rate)
            for node in others:
                assert await node.stop() == 0


async def shows(node: Daemon, state: str, name: str = "app") -> None:
    """Return once a node says that an endpoint is in that state."""
    async with asyncio.timeout(PATIENCE):
        while True:
            _, text = await node.get("/v1/endpoints")
            if {item["name"]: item["state"] for item in json.loads(text)["items"]}[name] == state:
                return
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_random_refusals_hold_no_node_back(daemons: Start, store: str) -> None:
    """Half of all attempts are answered 503: two nodes deliver every state once and in order, and call it slowed."""
    tasks = TASKS[:40]
    transcripts = {task: parse_spec("queueing,processing,success") for task in tasks}
    async with Simulator(transcripts=transcripts) as sim, FlakyReceiver(0.5, seconds=0.01) as ears:
        endpoints = {
            "app": webhook(ears.url, events=["task.*"], max_in_flight=8, retry_schedule=["0s", *["200ms"] * 99])
        }
        async with cluster(daemons, 2, store, sim, endpoints) as nodes:
            status, _ = await nodes[0].post("/v1/watches", [{"source": "vidu", "id": task} for task in tasks])
            assert status == 201
            await ears.wait(3 * len(tasks))
            for node in nodes:
                await shows(node, "slowed")
                assert await node.stop() == 0
        assert ears.disorder() == {}
        assert len(ears.accepted) == 3 * len(tasks)
        assert ears.requests == pytest.approx(2 * len(ears.accepted), rel=0.4)


@pytest.mark.slow
async def test_an_outage_outlives_the_node_that_probes(daemons: Start, store: str) -> None:
    """Another takes its place, finds the endpoint well, and everything arrives; what is disabled stays so."""
    tasks = TASKS[:20]
    async with (
        Simulator(transcripts={task: parse_spec("success") for task in tasks}) as sim,
        Receiver() as ears,
        Receiver() as ops,
    ):
        endpoints = {
            "app": webhook(ears.url, events=["task.succeeded"], retry_schedule=["0s", *["1s"] * 99]),
            "ops": webhook(ops.url, events=["endpoint.*"]),
        }
        ears.status = 500
        async with cluster(daemons, 3, store, sim, endpoints) as nodes:
            await nodes[0].post("/v1/watches", [{"source": "vidu", "id": task} for task in tasks])
            prober = await leader(nodes)
            others = [node for node in nodes if node is not prober]
            await prober.kill()
            before, ears.status = len(ears.arrivals), 200
            await ears.wait_for(
                lambda it: len({one.id for one in it.arrivals[before:]}) == len(tasks), timeout=PATIENCE
            )
            for node in others:
                await shows(node, "ok")
            await ops.wait(1)
            assert [json.loads(arrival.body)["type"] for arrival in ops.arrivals] == ["endpoint.recovered"]

            assert (await others[0].post("/v1/endpoints/app/disable"))[0] == 200
            await shows(others[1], "disabled")
            await others[1].kill()
            await others[1].start()
            await others[1].log.wait("endpoint.still_disabled")
