"""Any node that is asked describes all nodes and all watches, and acts on them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import databases
import pytest
from clocks import clock_of
from daemon_process import Daemon, Start, config, webhook
from database_proxy import Proxy
from waits import PATIENCE, until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import parse_spec

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MOVES = ("queueing", "preparation", "scheduling", "processing", "success")
TASKS = [f"t{number:03}" for number in range(60)]


@pytest.fixture
def database() -> Iterator[str]:
    with databases.database() as url:
        yield url


async def ask(daemon: Daemon, path: str) -> Any:
    status, text = await daemon.get(path)
    assert status == 200, text
    return json.loads(text)


async def spread(nodes: list[Daemon], count: int) -> list[dict[str, Any]]:
    """Return what all say of the nodes, once all agree that so many watches are shared, and all streams are open."""
    told: list[dict[str, Any]] = []

    async def agreed() -> bool:
        lists = [(await ask(node, "/v1/nodes"))["items"] for node in nodes]
        told[:] = lists[0]
        return all(
            sum(item["watches"] for item in items) == sum(item["streams"] or 0 for item in items) == count
            and len(items) == len(nodes)
            and all(item["watches"] for item in items)
            for items in lists
        )

    await until(agreed)
    return told


@asynccontextmanager
async def site(daemons: Start, database: str, count: int, *, moves: str) -> AsyncIterator[list[Daemon]]:
    """Run so many nodes, with an upstream and a receiver."""
    async with (
        Simulator(transcripts={"*": parse_spec(moves)}, interval=0.02, keep_open=True) as upstream,
        Listener(secrets=[SECRET], clock=clock_of(database)) as receiver,
    ):
        nodes = [
            daemons(
                config(
                    upstream=upstream.base_url,
                    endpoints={"app": webhook(receiver.url)},
                    store={"url": database},
                    node={"name": f"web-{number}", "timeout": "5s"},
                ),
                name=f"n{number}",
            )
            for number in range(count)
        ]
        await asyncio.gather(*(node.start() for node in nodes))
        yield nodes
        await asyncio.gather(*(node.stop() for node in nodes))


@pytest.mark.slow
async def test_any_node_tells_of_all_and_acts_on_all(daemons: Start, database: str) -> None:
    """Each node knows which node follows a watch, and only that one whether its stream is open. It obeys a removal."""
    async with site(daemons, database, 2, moves="queueing") as nodes:
        added, _ = await nodes[0].post("/v1/watches", TASKS)
        assert added == 201
        told = await spread(nodes, len(TASKS))
        assert sorted(item["name"] for item in told) == ["web-0", "web-1"]
        for node in nodes:
            name = node.settings["node"]["name"]
            items = (await ask(node, "/v1/watches"))["items"]
            assert {item["node"] for item in items} == {"web-0", "web-1"}
            assert all(item["connected"] is (True if item["node"] == name else None) for item in items)
            [this] = [item for item in (await ask(node, "/v1/nodes"))["items"] if item["this"]]
            assert (this["name"], this["http"]) == (name, node.settings["http"]["listen"])
            status = await ask(node, "/v1/status")
            assert (status["node"], status["nodes"]) == (name, 2)
            assert [(s["following"], s["open"]) for s in status["sources"]] == [(len(TASKS), len(TASKS))]
            assert await node.metric('notifier_nodes{state="alive"}') == 2
            assert await node.metric("notifier_node_watches") == this["watches"]

        foreign = next(i["id"] for i in (await ask(nodes[0], "/v1/watches"))["items"] if i["node"] == "web-1")
        shown = await ask(nodes[0], f"/v1/watches/vidu/{foreign}")
        assert (shown["node"], shown["connected"], shown["connection"]) == ("web-1", None, None)
        own = await ask(nodes[1], f"/v1/watches/vidu/{foreign}")
        assert (own["node"], own["connected"], own["connection"]["open"]) == ("web-1", True, True)
        drawn = await nodes[0].run("watch", "show", foreign, "-c", "config.yaml")
        assert "of node web-1, which alone knows how it is" in drawn.out

        removed = await nodes[0].run("watch", "remove", foreign, "-c", "config.yaml")
        assert removed.code == 0, removed.err
        await spread(nodes, len(TASKS) - 1)

        listed = json.loads((await nodes[1].run("node", "list", "--json", "-c", "config.yaml")).out)
        assert [item["this"] for item in sorted(listed["items"], key=lambda item: str(item["name"]))] == [False, True]
        shown_status = (await nodes[1].run("status", "-c", "config.yaml")).out
        assert "on web-1, one of 2 nodes" in shown_status
        assert "web-0" in shown_status

        assert (await nodes[1].run("reload", "-c", "config.yaml")).out.splitlines() == [
            "reloaded; nothing has changed",
            "for every node what its files list as watches, for web-1 alone all else: ask each, see notifier node list",
        ]


@pytest.mark.slow
async def test_the_stream_of_any_node_tells_the_events_of_all(daemons: Start, database: str) -> None:
    """Each once, in the order of the cursors, though it goes on at another node time and again."""
    async with site(daemons, database, 3, moves=",".join(MOVES)) as nodes:
        seen: list[tuple[int, str, int]] = []
        last: str | None = (await ask(nodes[0], "/v1/events?limit=1"))["next"]
        assert last is None  # nothing has happened yet
        opened = asyncio.Event()
        whole = asyncio.create_task(_take(nodes[2], None, len(TASKS) * len(MOVES), opened))
        await opened.wait()
        adding = asyncio.create_task(_add(nodes))
        position = "0"
        while len(seen) < len(TASKS) * len(MOVES):
            node = nodes[len(seen) % len(nodes)]
            part = await _take(node, position, min(37, len(TASKS) * len(MOVES) - len(seen)))
            seen += part
            position = str(part[-1][0])
        await adding
        assert [cursor for cursor, *_ in seen] == sorted({cursor for cursor, *_ in seen})
        assert {(task, sequence) for _, task, sequence in seen} == {
            (task, sequence) for task in TASKS for sequence in range(1, len(MOVES) + 1)
        }
        assert await whole == seen


async def _add(nodes: list[Daemon]) -> None:
    for number, task in enumerate(TASKS):
        status, _ = await nodes[number % len(nodes)].post("/v1/watches", task)
        assert status == 201


async def _take(
    node: Daemon, after: str | None, count: int, opened: asyncio.Event | None = None
) -> list[tuple[int, str, int]]:
    """Read so many events of the stream of a node."""
    headers = {} if after is None else {"Last-Event-ID": after}
    found: list[tuple[int, str, int]] = []
    async with (
        asyncio.timeout(PATIENCE * 2),
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{node.url}/v1/stream") as reply,
    ):
        if opened is not None:
            opened.set()  # whatever is committed from now on is told
        kind = ""
        async for line in reply.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data" and kind != "status":
                event = json.loads(value)
                found.append((int(event["cursor"]), event["task"], event["sequence"]))
                if len(found) == count:
                    return found
    raise AssertionError("the stream ended")


async def test_a_node_without_an_answer_from_the_store_is_not_ready(
    daemons: Start, database: str, tmp_path: Path
) -> None:
    """It is not ready once others may have taken over, says so, and is ready again when it has joined them again."""
    server, _, name = database.rpartition("/")
    proxy = Proxy(int(server.rpartition(":")[2]))
    try:
        node = daemons(
            config(
                upstream="http://127.0.0.1:9",
                endpoints={},
                store={"url": f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}"},
                node={"timeout": "2s"},
            )
        )
        await node.start()
        assert await node.get("/readyz") == (200, "ok\n")
        proxy.swallow()

        async def not_ready() -> bool:
            status, told = await node.get("/readyz")
            return status == 503 and "other nodes may have taken over" in told

        await until(not_ready)
        proxy.pass_on()

        async def ready() -> bool:
            return await node.get("/readyz") == (200, "ok\n")

        await until(ready)
    finally:
        await node.kill()
        proxy.close()
