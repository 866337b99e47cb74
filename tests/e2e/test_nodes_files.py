"""The same files on each node: each watch once; starts add, and reloads settle on the new files."""

from __future__ import annotations

import json
from collections.abc import Iterator

import databases
import pytest
from daemon_process import Daemon, Fields, Start, config, webhook
from receiver import Receiver

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
