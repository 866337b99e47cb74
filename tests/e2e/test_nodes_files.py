"""The same files on each node: each watch once; starts add, and reloads settle on the new files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product

import aiohttp
import databases
import psycopg
import pytest
from daemon_process import Daemon, Fields, Start, config, webhook
from receiver import Receiver
from waits import until

from notifier.tools.simulator import Simulator
from notifier.tools.transcript import parse_spec


@pytest.fixture
def store() -> Iterator[str]:
    """Name a PostgreSQL database of nobody else's."""
    with databases.database() as url:
        yield url


def settings(name: str, store: str, sim: Simulator, ears: Receiver, *watches: str) -> Fields:
    """Configure a node whose files list these watches."""
    return config(
        upstream=sim.base_url,
        endpoints={"app": webhook(ears.url, events=["task.succeeded"])},
        watches=watches,
        store={"url": store},
        node={"name": name, "timeout": "2s"},
    )


async def listed(node: Daemon) -> list[str]:
    """Return the ids of what is wanted."""
    _, text = await node.get("/v1/watches?limit=100")
    return sorted(item["id"] for item in json.loads(text)["items"])


@pytest.mark.slow
async def test_a_rolling_deployment_settles_on_the_new_files(daemons: Start, store: str) -> None:
    """One node has them, the other is killed and comes back with the old ones, then gets the new ones as well."""
    tasks = {id_: parse_spec("queueing") for id_ in ("kept", "gone", "new")}
    async with Simulator(transcripts=tasks) as sim, Receiver() as ears:
        old, new = ("kept", "gone"), ("new", "kept")
        one = daemons(settings("one", store, sim, ears, *old), name="one")
        two = daemons(settings("two", store, sim, ears, *reversed(old)), name="two")
        await one.launch()
        await two.launch()  # in the same moment
        await one.log.wait("daemon.ready")
        await two.log.wait("daemon.ready")
        assert await listed(one) == ["gone", "kept"]

        one.write(one.settings | {"watches": list(new)})
        assert (await one.run("reload", "-c", "config.yaml")).code == 0
        assert (await one.log.wait("reload.done"))["removed"] == 1
        await two.kill()
        await two.start()
        assert await listed(two) == ["gone", "kept", "new"], "a start removes nothing"

        two.write(two.settings | {"watches": list(new)})
        assert (await two.run("reload", "-c", "config.yaml")).code == 0
        assert await listed(one) == ["kept", "new"]
        for id_ in tasks:
            sim.push(id_, "success")
        await ears.wait(2)
        assert await two.stop() == 0
        assert await one.stop() == 0
        told = [json.loads(arrival.body)["data"]["watch"]["id"] for arrival in ears.arrivals]
        assert sorted(told) == ["kept", "new"], "each once, and nothing of what was removed"


@pytest.mark.slow
async def test_a_rollback_by_reload_wins(daemons: Start, store: str) -> None:
    """On the node that started with the old files, and then on the other."""
    tasks = {id_: parse_spec("queueing") for id_ in ("old", "new")}
    async with Simulator(transcripts=tasks) as sim, Receiver() as ears:
        one = daemons(settings("one", store, sim, ears, "old"), name="one")
        two = daemons(settings("two", store, sim, ears, "old"), name="two")
        await one.start()
        one.write(one.settings | {"watches": ["new"]})
        assert (await one.run("reload", "-c", "config.yaml")).code == 0
        await two.start()
        assert await listed(two) == ["new", "old"]
        assert (await two.run("reload", "-c", "config.yaml")).code == 0
        assert await listed(two) == ["old"]
        one.write(one.settings | {"watches": ["old"]})
        assert (await one.run("reload", "-c", "config.yaml")).code == 0
        assert await listed(one) == ["old"]


@pytest.mark.slow
async def test_a_source_of_one_node_is_followed_by_that_node(daemons: Start, store: str) -> None:
    """Whole, beside a node that does not name it and takes none from it; by both, once that one names it as well."""
    async with Simulator(transcript=parse_spec("queueing"), keep_open=True) as sim, Receiver() as ears:
        one = daemons(settings("one", store, sim, ears), name="one")
        both = {"also": one.settings["sources"]["vidu"] | {"default": False}}
        both["vidu"] = one.settings["sources"]["vidu"] | {"default": True}
        one.write(one.settings | {"sources": both})
        two = daemons(settings("two", store, sim, ears), name="two")
        await one.start()
        await two.start()
        ids = [str(number) for number in range(40)]
        for source in both:
            await add(one, *({"source": source, "id": id_} for id_ in ids))
        await until(lambda: apart(held(store)), lambda: f"each has what it can follow, not {held(store)}")

        two.write(two.settings | {"sources": both})
        assert (await two.run("reload", "-c", "config.yaml")).code == 0
        await until(lambda: even(held(store)), lambda: f"both follow both, not {held(store)}")
        assert await two.stop() == 0
        left = dict.fromkeys(product(("one",), both), 40)
        await until(lambda: held(store) == left, lambda: f"what was left is taken over, not {held(store)}")
        assert await one.stop() == 0


async def add(node: Daemon, *watches: Fields) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{node.url}/v1/watches", json=list(watches)) as reply,
    ):
        assert reply.status == 201


def held(store: str) -> dict[tuple[str, str], int]:
    """Count the watches that each node follows, by its name and the source."""
    count = "SELECT n.name, w.source, count(*) FROM watches w JOIN nodes n ON n.number = w.owner GROUP BY 1, 2"
    with psycopg.connect(store) as connection:
        return {(node, source): number for node, source, number in connection.execute(count)}


def apart(counts: dict[tuple[str, str], int]) -> bool:
    """Return whether the one source is the first node's, and both share the other; one more closes no stream."""
    one, two = (counts.get((name, "vidu"), 0) for name in ("one", "two"))
    return counts.get(("one", "also")) == one + two == 40 and abs(one - two) <= 2


def even(counts: dict[tuple[str, str], int]) -> bool:
    """Return whether both nodes follow as much, or one more: for a smaller excess no stream is closed."""
    totals = [sum(number for (node, _), number in counts.items() if node == name) for name in ("one", "two")]
    return sum(totals) == 80 and abs(totals[0] - 40) <= 1
