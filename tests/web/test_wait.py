"""Waiting for one watch: a long poll that ends with it, and a stream of its events alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from site_running import Reply, Site, running
from stream_reader import add, listening
from waits import PATIENCE, until

from notifier.tools.simulator import Simulator
from notifier.web import answers
from notifier.web import hub as hubs
from notifier.web.api import Api

LONG = 600  # seconds: a wait that something else has to end


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    """Run an upstream that knows the tasks `end*`, which end by themselves."""
    async with Simulator(ids=["end*"], interval=0.2) as made:
        yield made


@pytest.fixture
async def site(tmp_path: Path, sim: Simulator) -> AsyncIterator[Site]:
    async with running(tmp_path, source=sim.base_url) as made:
        yield made


def hub_of(site: Site) -> hubs.Hub:
    assert site.app.parts is not None
    return site.app.parts.hub


async def signals(site: Site, count: int) -> None:
    """Return once so many wait."""
    await until(lambda: sum(map(len, hub_of(site)._signals.values())) == count)


async def wait(site: Site, task_id: str, timeout: float = LONG) -> Reply:
    async with asyncio.timeout(PATIENCE):
        return await site.get(f"/v1/watches/vidu/{quote(task_id, safe='')}/wait?timeout={timeout}")


# -- the long poll


async def test_the_answer_comes_with_the_end(site: Site) -> None:
    """It is the watch, as it is then; and at once if it has ended already."""
    await add(site, "end1", "end/2")
    first, second = await asyncio.gather(wait(site, "end1"), wait(site, "end/2"))
    for reply, task_id in ((first, "end1"), (second, "end/2")):
        assert reply.status == 200
        assert (reply.json["id"], reply.json["ended"], reply.json["phase"]) == (task_id, True, "succeeded")
    assert (await wait(site, "end1")).json == (await wait(site, "end1", timeout=0)).json
    [listed] = (await site.get("/v1/watches?q=end1")).json["items"]
    assert (await wait(site, "end1")).json == listed
    await signals(site, 0)


@pytest.mark.parametrize("timeout", [0, 0.25, 1])
async def test_the_answer_comes_after_the_timeout(site: Site, timeout: float) -> None:
    """With `ended` false, and the facts known by then."""
    await add(site, "1")
    reply = await wait(site, "1", timeout=timeout)
    assert (reply.status, reply.json["ended"], reply.json["phase"]) == (200, False, None)
    await signals(site, 0)


async def test_a_watch_that_is_lost_has_ended(tmp_path: Path, sim: Simulator) -> None:
    """Its reason is in the answer."""
    async with running(tmp_path, source=sim.base_url) as site:
        config = site.path.read_text().replace("token: tok}", "token: tok, not_found_grace: 300ms}")
        site.path.write_text(config)
        assert (await site.post("/v1/reload")).status == 200
        await add(site, "1")
        assert (await wait(site, "1")).json["lost"] == "not_found"


@pytest.mark.parametrize("timeout", ["-1", "601", "600.1", "1.", ".5", "1e2", "nan", "inf", "", "x", "1s", "%D9%A3"])
async def test_a_timeout_is_a_number_of_seconds(site: Site, timeout: str) -> None:
    """At most ten minutes."""
    detail = (await site.get(f"/v1/watches/vidu/1/wait?timeout={timeout}")).problem(400)
    assert "timeout: expected a number of seconds from 0 to 600" in detail


async def test_an_unknown_watch_is_a_problem_at_once(site: Site) -> None:
    assert "no watch" in (await wait(site, "1")).problem(404)
    await signals(site, 0)


async def test_a_watch_that_is_removed_is_a_problem(site: Site) -> None:
    """Not an answer that comes ten minutes later."""
    await add(site, "1")
    waiting = asyncio.create_task(wait(site, "1"))
    await signals(site, 1)
    assert (await site.ask("DELETE", "/v1/watches/vidu/1")).status == 204
    assert "no watch" in (await waiting).problem(404)


async def test_a_daemon_that_stops_says_so(tmp_path: Path, sim: Simulator) -> None:
    """503: the client asks another node, or again."""
    async with running(tmp_path, source=sim.base_url) as site:
        await add(site, "1")
        waiting = asyncio.create_task(wait(site, "1"))
        await signals(site, 1)
    reply = await waiting
    assert reply.problem(503) == "The daemon is stopping; try again later, if it is to start again."


async def test_who_leaves_is_forgotten(site: Site) -> None:
    """At once, not after the timeout."""
    await add(site, "1")
    host, _, port = (site.app.address or "").rpartition(":")
    for _ in range(3):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v1/watches/vidu/1/wait?timeout=600 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await signals(site, 1)
        writer.close()
        await signals(site, 0)


@pytest.mark.unmeasured
async def test_a_thousand_wait_and_only_those_of_the_watch_are_woken(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events of other watches cost them nothing: not one read of the store."""
    reads: list[str] = []
    read = Api.watch

    async def counted(api: Api, source: str, task_id: str) -> answers.WatchItem:
        reads.append(task_id)
        return await read(api, source, task_id)

    monkeypatch.setattr(Api, "watch", counted)
    await add(site, *map(str, range(100)))
    waiting: list[asyncio.Task[Reply]] = []
    try:
        for _ in range(10):  # a connection has limited time for its head, which a thousand at once may exceed
            waiting += [asyncio.create_task(wait(site, str(number))) for number in range(100)]
            await signals(site, len(waiting))
        await until(lambda: len(reads) == 1000)
        await add(site, *(f"end{number}" for number in range(20)))
        assert (await wait(site, "end7")).json["phase"] == "succeeded"
        assert [task for task in reads if not task.startswith("end")] == reads[:1000]
        assert (await site.get("/healthz")).status == 200
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
    await signals(site, 0)


async def test_as_many_wait_as_may(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more gets 503 and Retry-After."""
    monkeypatch.setattr(hubs, "MAX_SIGNALS", 1)
    await add(site, "1")
    waiting = asyncio.create_task(wait(site, "1"))
    await signals(site, 1)
    refused = await wait(site, "1")
    assert refused.problem(503)
    assert refused.headers["retry-after"]
    waiting.cancel()
    await asyncio.wait({waiting})


# -- the stream of one watch


async def test_a_stream_of_one_watch_has_its_events_alone(site: Site) -> None:
    """As they are committed, beside others; and no status, which is about all."""
    async with listening(site, "?watch=vidu/end1") as reader:
        await add(site, "end0", "end1", "end2")
        found = await reader.events(3)
        assert [told.data["task"] for told in found] == ["end1"] * 3
        assert [told.data["state"] for told in found] == ["queueing", "processing", "success"]


async def test_a_stream_of_one_watch_is_resumed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the event that was seen last, across pages, and whether or not somebody else listens."""
    monkeypatch.setattr(hubs, "PAGE", 2)
    await add(site, "end1", "end2")
    for task_id in ("end1", "end2"):
        assert (await wait(site, task_id)).json["ended"]
    async with listening(site, "?watch=vidu/end1&after=0") as reader:
        whole = await reader.events(3)
    assert [told.data["sequence"] for told in whole] == [1, 2, 3]
    async with listening(site), listening(site, "?watch=vidu/end1", last=whole[0].id) as reader:
        assert [told.id for told in await reader.events(2)] == [told.id for told in whole[1:]]
    async with listening(site, "?watch=vidu/end1&type=task.succeeded&after=0") as reader:
        assert [told.id for told in await reader.events(1)] == [whole[2].id]


async def test_a_stream_of_one_watch_may_wait_for_one_that_is_added_later(site: Site) -> None:
    """And its id may hold a slash."""
    async with listening(site, "?watch=vidu/" + quote("end/1/x", safe="")) as reader:
        await add(site, "end/1/x")
        assert [told.data["task"] for told in await reader.events(3)] == ["end/1/x"] * 3
    await signals(site, 0)


@pytest.mark.parametrize("watch", ["", "1", "/1", "vidu/", "%00/1", "vidu/%00"])
async def test_a_watch_is_named_by_source_and_id(site: Site, watch: str) -> None:
    assert "watch: " in (await site.get(f"/v1/stream?watch={watch}")).problem(400)


async def test_an_event_between_the_look_and_the_wait_is_not_missed(site: Site) -> None:
    """Many at once, while tasks end: each wait ends."""
    ids = [f"end{number}" for number in range(40)]
    await site.post("/v1/watches", json.dumps(ids).encode())
    replies = await asyncio.gather(*(wait(site, task_id) for task_id in ids for _ in range(3)))
    assert all(reply.json["ended"] for reply in replies)
