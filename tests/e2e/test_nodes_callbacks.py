"""Callbacks of watches among several nodes: one is asked, another follows the watch, and a third may send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import databases
import psycopg
import pytest
from daemon_process import SECRET_2, Daemon, Fields, Start, config
from receiver import Receiver
from waits import until

from notifier.core.callback import Callback
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

TASKS = [f"task-{number}" for number in range(6)]
STATES = ("queueing", "processing", "success")


@pytest.fixture
def store() -> Iterator[str]:
    """Name a PostgreSQL database of nobody else's."""
    with databases.database() as url:
        yield url


def settings(name: str, store: str, sim: Simulator) -> Fields:
    """Configure a node that sends nothing but callbacks."""
    return config(
        upstream=sim.base_url,
        endpoints={},
        store={"url": store},
        node={"name": name, "timeout": "2s"},
        callbacks={"secret": SECRET_2, "allow_networks": ["127.0.0.0/8"], "allow_http": True},
    )


def rows(store: str, query: str) -> list[tuple[Any, ...]]:
    """Ask the database, past the nodes."""
    with psycopg.connect(store, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


async def recorded(store: str, count: int) -> None:
    """Wait until there are so many events."""
    await until(lambda: rows(store, "SELECT count(*) FROM events") == [(count,)], what=f"{count} events")


async def delivered(store: str, count: int) -> None:
    """Wait until so many deliveries were accepted."""
    query = "SELECT count(*) FROM deliveries WHERE status = 'delivered'"
    await until(lambda: rows(store, query) == [(count,)], what=f"{count} accepted")


def told(own: Receiver) -> dict[str, list[int]]:
    """Return the sequences of each task in the order of their first arrival."""
    found: dict[str, dict[int, None]] = {}
    for arrival in own.arrivals:
        data = json.loads(arrival.body)["data"]
        found.setdefault(data["watch"]["id"], {})[data["sequence"]] = None
    return {task: list(sequences) for task, sequences in found.items()}


@pytest.mark.slow
async def test_another_node_goes_on_where_the_killed_one_had_it_in_hand(daemons: Start, store: str) -> None:
    """Watches come to one node and are shared; the node that is sending dies with all in flight. Nothing is lost, each
    watch's events come in order, and what comes twice comes under the same id."""
    async with Simulator(transcript=Transcript(snapshots=())) as sim, Receiver() as own:
        nodes: dict[str, Daemon] = {}
        for name in ("a", "b"):
            nodes[name] = daemons(settings(name, store, sim), name=name)
            await nodes[name].start()
        own.gate.clear()
        url = f"{own.url}/own"
        status, answer = await nodes["a"].post("/v1/watches", [{"id": task, "callback_url": url} for task in TASKS])
        assert (status, answer["created"]) == (201, len(TASKS))
        owners = "SELECT count(DISTINCT owner) FROM watches WHERE owner IS NOT NULL"
        await until(lambda: rows(store, owners) == [(2,)], what="both nodes follow some")
        for number, state in enumerate(STATES, 1):
            for task in TASKS:
                sim.push(task, state)
            await recorded(store, len(TASKS) * number)
        await own.wait(len(TASKS))
        busy = "SELECT n.name FROM deliveries d JOIN nodes n ON n.number = d.owner GROUP BY 1 ORDER BY count(*) DESC"
        owner = rows(store, busy)[0][0]
        [survivor] = [node for name, node in nodes.items() if name != owner]
        await nodes[owner].kill()
        own.gate.set()
        await delivered(store, len(TASKS) * len(STATES))
        assert told(own) == {task: [1, 2, 3] for task in TASKS}
        assert len({arrival.id for arrival in own.arrivals}) == len(TASKS) * len(STATES)
        assert rows(store, "SELECT name FROM callbacks") == [(Callback(url=url).name,)]
        assert not [line for node in nodes.values() for line in node.log.lines if url in line]
        assert survivor.log.events("node.dead")


@pytest.mark.slow
async def test_what_a_node_could_not_send_the_other_retries_in_order(daemons: Start, store: str) -> None:
    """The destination fails as long as the first node lives, and answers once that one is gone."""
    async with Simulator(transcript=Transcript(snapshots=())) as sim, Receiver() as own:
        first = daemons(settings("a", store, sim), name="a")
        await first.start()
        own.status = 500
        await first.post("/v1/watches", {"id": "1", "callback_url": own.url})
        for number, state in enumerate(STATES, 1):
            sim.push("1", state)
            await recorded(store, number)
        await until(lambda: bool(rows(store, "SELECT 1 FROM attempts")), what="a failed attempt")
        second = daemons(settings("b", store, sim), name="b")
        await second.start()
        await first.kill()
        own.status = 200
        await delivered(store, len(STATES))
        assert told(own) == {"1": [1, 2, 3]}
