"""Watches over HTTP: added once however often they are asked for, listed in pages that stay put, shown, let go of."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from refused_threads import no_thread
from site_running import SECRET, Reply, Site, running
from waits import slowness, until

from notifier.cli.timeline import lines
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import parse_lines

JSON = {"content_type": "application/json"}
APP = f'{{app: {{type: webhook, url: "http://127.0.0.1:9/", secrets: ["{SECRET}"]}}}}'


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running(tmp_path, endpoints=APP) as made:
        yield made


async def add(site: Site, value: Any) -> Reply:
    return await site.post("/v1/watches", json.dumps(value).encode(), **JSON)


async def items(site: Site, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await site.get(f"/v1/watches?{query}")).json["items"]
    return found


async def ids(site: Site, query: str = "") -> list[str]:
    return [item["id"] for item in await items(site, query)]


# -- adding


async def test_a_watch_is_created_once(site: Site) -> None:
    """201 with the watch, then 200 with the same watch, also if the second request differs."""
    asked = {"id": "7", "labels": {"team": "video"}, "metadata": {"order": [7, None]}, "endpoints": ["app"]}
    first = await add(site, asked)
    assert first.status == 201
    item, node = first.json, (await site.get("/v1/status")).json["node"]
    assert (item.pop("created_at"), item.pop("changed_at")) == (item["updated_at"], item["updated_at"])
    assert item.pop("updated_at").endswith("Z")
    assert item.pop("node") in (None, node)  # it may have been taken up by now
    assert item == asked | {
        "source": "vidu",
        "phase": None,
        "state": None,
        "sequence": 0,
        "callback": None,
        "origin": "api",
        "ended": False,
        "lost": None,
        "connected": False,
        "variables": {},
        "warnings": [],
        "traceparent": None,
    }
    again = await add(site, {"id": "7", "labels": {"team": "other"}})
    assert (again.status, {**again.json, "node": None}) == (200, {**first.json, "node": None})
    assert await ids(site) == ["7"]


@pytest.mark.parametrize(
    ("body", "task_id"),
    [
        (b'"2370487727425660"', "2370487727425660"),
        (b"2370487727425660", "2370487727425660"),
        (b'{"id": 2370487727425660}', "2370487727425660"),
        (' {"id": "ä/b {c}?#%", "source": "vidu"} '.encode(), "ä/b {c}?#%"),
    ],
)
async def test_an_id_may_stand_alone_and_be_any_text(site: Site, body: bytes, task_id: str) -> None:
    """It is found again under its own path."""
    assert (await site.post("/v1/watches", body)).json["id"] == task_id
    path = f"/v1/watches/vidu/{quote(task_id, safe='')}"
    assert (await site.get(path)).json["id"] == task_id
    assert (await site.ask("DELETE", path)).status == 204
    (await site.get(path)).problem(404)


async def test_a_list_tells_of_each_whether_it_is_new(site: Site) -> None:
    """201 if one was; of one that comes twice, the first counts and is the new one."""
    await add(site, "1")
    reply = await add(site, ["1", {"id": "2", "labels": {"a": "first"}}, {"id": "2"}, "3"])
    assert reply.status == 201
    assert reply.json == {
        "items": [
            {"source": "vidu", "id": task, "created": new} for task, new in zip("1223", (0, 1, 0, 1), strict=True)
        ],
        "created": 2,
        "existing": 2,
        "warnings": [],
    }
    assert [item["labels"] for item in await items(site, "q=2")] == [{"a": "first"}]
    again = await add(site, ["1", "2", "3"])
    assert (again.status, again.json["created"], again.json["existing"]) == (200, 0, 3)
    none = await add(site, [])
    assert (none.status, none.json) == (200, {"items": [], "created": 0, "existing": 0, "warnings": []})


@pytest.mark.parametrize(("there", "status"), [(False, 201), (True, 200)])
async def test_a_watch_that_is_removed_at_once_was_added(
    site: Site, monkeypatch: pytest.MonkeyPatch, there: bool, status: int
) -> None:
    """The answer tells of the commit, whatever another client does between the commit and the answer."""
    assert site.app.parts is not None
    watches = site.app.parts.store.watches
    apply = watches.apply
    if there:
        assert (await add(site, "7")).status == 201

    async def then_remove(*args: Any, **kwargs: Any) -> Any:
        changes = await apply(*args, **kwargs)
        assert await watches.remove("vidu", "7", now=kwargs["now"]) is not None
        return changes

    monkeypatch.setattr(watches, "apply", then_remove)
    reply = await add(site, {"id": "7", "source": "vidu"})
    assert (reply.status, reply.json["id"], reply.json["warnings"]) == (status, "7", [])
    assert (await site.get("/v1/watches/vidu/7")).problem(404)
    assert await ids(site) == []


async def test_a_watch_without_a_receiver_is_added_with_a_warning(tmp_path: Path) -> None:
    """One that an endpoint matches, one that names its endpoint and one with its own callback cause none."""
    narrow = APP.replace("}}", ", match: {labels: {team: video}}}}")
    async with running(tmp_path, endpoints=narrow) as site:
        alone = (await add(site, "1")).json
        assert alone["warnings"] == [
            "no endpoint receives the events of vidu/1: no `match` accepts it, and it names no endpoint"
        ]
        assert (await add(site, {"id": "2", "labels": {"team": "video"}})).json["warnings"] == []
        assert (await add(site, {"id": "3", "endpoints": ["app"]})).json["warnings"] == []
        many = [{"id": f"m{n}", "labels": {"team": "video"} if n == 3 else {}} for n in range(9)]
        [warning] = (await add(site, many)).json["warnings"]
        assert warning.startswith(
            "no endpoint receives the events of vidu/m0, vidu/m1, vidu/m2, vidu/m4, vidu/m5 and 3 more: "
        )
        assert (await site.get("/v1/watches/vidu/1")).json["receivers"] == []
        assert (await site.get("/v1/watches/vidu/2")).json["receivers"] == ["app"]


async def test_an_id_with_a_blank_is_added_with_a_warning(site: Site) -> None:
    """It may be two ids whose separator was lost; providers give out none with a blank."""
    assert (await add(site, ["a", "b c"])).json["warnings"] == ["there is a blank in the id vidu/b c: is it one id?"]
    many = [f"x {n}" for n in range(8)]
    [warning] = (await add(site, many)).json["warnings"]
    assert (
        warning
        == "there is a blank in the id vidu/x 0, vidu/x 1, vidu/x 2, vidu/x 3, vidu/x 4 and 3 more: is it one id?"
    )
    assert (await add(site, "b c")).json["warnings"] == [], "it was told before"


async def test_one_bad_entry_and_nothing_is_written(site: Site) -> None:
    """Every problem of every entry, with its index and key."""
    reply = await add(site, ["1", {"id": ""}, {"id": "2", "sorce": "x"}, None, {"id": "3", "endpoints": ["nobody"]}])
    reply.problem(422)
    problems = reply.json["problems"]
    assert [problem.partition(":")[0] for problem in problems] == ["[1].id", "[2].sorce", "[3]", "[4].endpoints[0]"]
    assert 'did you mean "source"?' in problems[1]
    assert await ids(site) == []
    alone = await add(site, {"id": "1", "source": "nobody"})
    alone.problem(422)
    assert [problem.partition(":")[0] for problem in alone.json["problems"]] == ["source"]


async def test_a_watch_of_a_source_with_variables_gives_them(tmp_path: Path) -> None:
    """They come back with the item; without one that the URL needs, the add is refused and says what to do."""
    source = 'http://127.0.0.1:9", url: "{base_url}/{kind}/{id}", variables: {kind: null}, title: "clips'
    async with running(tmp_path, endpoints=APP, source=source) as site:
        refused = await add(site, [{"id": "1", "variables": {"kind": "a"}}, "2"])
        refused.problem(422)
        assert refused.json["problems"] == [
            "[1].variables: the url of vidu names kind; add `variables: {kind: ...}` here or to the source"
        ]
        assert (await add(site, {"id": "1", "variables": {"kind": "a"}})).status == 201
        assert (await add(site, {"id": "1", "variables": {"kind": "b"}})).status == 200
        assert [item["variables"] for item in await items(site)] == [{"kind": "a"}]
        assert (await site.get("/v1/watches/vidu/1")).json["variables"] == {"kind": "a"}


async def test_problems_without_end_are_cut(site: Site) -> None:
    """Ten thousand of them help nobody."""
    reply = await add(site, [None] * 10_000)
    reply.problem(422)
    assert len(reply.json["problems"]) == 1001


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"   ", 400),
        (b"{", 400),
        (b"abc", 400),
        (b"\xff\xfe", 400),
        (b'"\xed\xa0\x80"', 400),
        (b'"\\ud800"', 422),
        (b"[" * 1_000_000, 400),
        (b'{"id": "1", "metadata": ' + b"[" * 500 + b"]" * 500 + b"}", 422),
        (b'{"id": "1", "id": "2"}', 400),
        (b'{"id": "1", "metadata": NaN}', 400),
        (b"null", 422),
        (b"true", 422),
        (b"1.5", 422),
        (b"9" * 5000, 400),
        (b'{"id": ["1"]}', 422),
        (b'{"id": "' + b"x" * 513 + b'"}', 422),
        (b'[["1"]]', 422),
        (b"[" + b"0," * 10_000 + b"0]", 400),
        (b"[" + b"[]," * 1_000_001 + b"[]]", 413),
    ],
)
async def test_a_wrong_body_is_a_problem(site: Site, body: bytes, status: int) -> None:
    """Told cheaply, and nothing is written."""
    assert (await site.post("/v1/watches", body, **JSON)).problem(status)
    assert await ids(site) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "application/json; charset=utf-8"}, 201),
        ({"content_type": "application/vnd.api+json"}, 201),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/json; charset=utf-16"}, 415),
        ({"content_type": "application/json", "content_encoding": "gzip"}, 415),
    ],
)
async def test_the_body_is_json_and_says_so(site: Site, headers: dict[str, str], status: int) -> None:
    """The types that a form of another page could send are refused."""
    assert (await site.post("/v1/watches", b'"1"', **headers)).status == status


@pytest.mark.parametrize(("size", "status"), [((8 << 20) - 2, 422), ((8 << 20) + 1, 413), (100 << 20, 413)])
async def test_a_body_is_at_most_8_mib(site: Site, size: int, status: int) -> None:
    """One that says that it is larger is refused before it is read."""
    body = b'"' + b"x" * min(size, (8 << 20) + 1) + b'"'
    assert (await site.post("/v1/watches", body, content_length=str(max(size, len(body))), **JSON)).problem(status)


async def test_a_large_body_without_a_thread_is_503(site: Site) -> None:
    """Nothing of it is written, and the next one is read; a small body needs no thread."""
    long = [{"id": str(number), "labels": {"long": "x" * 1000}} for number in range(100)]
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # whose thread has not been started
    with no_thread():
        refused = await add(site, long)
        assert "no thread" in refused.problem(503)
        assert refused.headers["retry-after"] == "1"
        assert (await add(site, "small")).status == 201
    assert await ids(site) == ["small"]
    assert (await add(site, long)).status == 201


@pytest.mark.usefixtures("brief_locks")
async def test_the_store_away_is_503_and_a_commit_comes_before_the_answer(tmp_path: Path, site: Site) -> None:
    """A client that is answered can rely on it; one that is not asks again."""
    connection = sqlite3.connect(tmp_path / "n.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    refused = await add(site, "1")
    assert "the store cannot be used for now" in refused.problem(503)
    assert refused.headers["retry-after"] == "1"
    connection.execute("ROLLBACK")

    async def added() -> bool:
        return (await add(site, "1")).status == 201

    await until(added)
    assert connection.execute("SELECT id FROM watches").fetchall() == [("1",)]
    connection.close()


# -- listing


async def test_filters(site: Site) -> None:
    """By source, phase, state, labels, a part of the id, and whether it goes on; together they narrow."""
    tricky = {'a"k': 'v"', "b": "1,2", "ü": "%", "urn:team": "a=b:c"}
    await add(site, [{"id": "Alpha", "labels": {"k": "v", "z": "1"}}, {"id": "beta_1", "labels": tricky}, "beta%2"])
    assert await ids(site) == ["beta%2", "beta_1", "Alpha"]
    for query, expected in {
        "source=vidu": ["beta%2", "beta_1", "Alpha"],
        "source=other": [],
        "phase=new": ["beta%2", "beta_1", "Alpha"],
        "phase=running": [],
        "phase=lost": [],
        "state=processing": [],
        "label=k:v": ["Alpha"],
        "label=z:1&label=k:v": ["Alpha"],
        "label=z:1&label=k:w": [],
        "label=k:": [],
        "label=b:1,2": ["beta_1"],
        "label=" + quote('a"k:v"'): ["beta_1"],
        "label=" + quote("ü:%"): ["beta_1"],
        "label=urn:team:a=b:c": ["beta_1"],
        "label=urn:team:a=b:c&label=b:1,2": ["beta_1"],
        "label=urn:team=a=b:c": [],
        "q=ALPHA": ["Alpha"],
        "q=eta": ["beta%2", "beta_1"],
        "q=_": ["beta_1"],
        "q=%25": ["beta%2"],
        "q=": ["beta%2", "beta_1", "Alpha"],
        "ended=false": ["beta%2", "beta_1", "Alpha"],
        "ended=true": [],
        "ended=false&q=alpha&phase=new&source=vidu": ["Alpha"],
    }.items():
        assert await ids(site, query) == expected, query


@pytest.mark.parametrize(
    "query",
    ["limit=0", "cursor=x", "phase=gone", "ended=1", "label=k", "sorce=vidu", "source=a&source=b", "q=" + "x" * 5001],
)
async def test_a_wrong_query_is_a_problem(site: Site, query: str) -> None:
    """Nothing is passed over in silence."""
    assert (await site.get(f"/v1/watches?{query}")).problem(400)


async def test_pages_stay_put_while_watches_are_added(site: Site) -> None:
    """Each watch of the first moment comes once, newest first, also if others are added or removed meanwhile."""
    await add(site, [str(number) for number in range(10)])
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = (await site.get(f"/v1/watches?limit=3{cursor and f'&cursor={cursor}'}")).json
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        await add(site, f"later {len(seen)}")
    assert seen == [str(number) for number in reversed(range(10))]
    assert len(await ids(site)) == 10 + 4


# -- one watch


async def test_a_watch_is_shown_with_all_that_came_of_it(tmp_path: Path) -> None:
    """Its events, oldest first, with payloads and deliveries; it stays listed once it has ended."""
    async with Simulator() as sim, Listener(secrets=[SECRET]) as listener:
        endpoints = f'{{app: {{type: webhook, url: "{listener.url}", secrets: ["{SECRET}"]}}}}'
        async with running(tmp_path, source=sim.base_url, endpoints=endpoints) as site:
            await add(site, {"id": "1", "labels": {"team": "video"}})
            await listener.wait(3)

            async def done() -> bool:
                events = (await site.get("/v1/watches/vidu/1")).json["events"]
                found = [delivery["status"] for event in events for delivery in event["deliveries"]]
                return found == ["delivered"] * 3

            await until(done)
            told = (await site.get("/v1/watches/vidu/1")).json
            assert (told["phase"], told["ended"], told["lost"], told["sequence"]) == ("succeeded", True, None, 3)
            assert told["connection"] == {"open": False, "failures": 0, "trouble": None, "error": None, "unread": None}
            assert told["more"] is False
            assert [event["sequence"] for event in told["events"]] == [1, 2, 3]
            assert [event["previous_state"] for event in told["events"]] == [None, "queueing", "processing"]
            last = told["events"][-1]
            assert (last["type"], last["source"], last["task"]) == ("task.succeeded", "vidu", "1")
            assert last["payload"]["data"]["watch"]["labels"] == {"team": "video"}
            assert last["deliveries"][0]["event_id"] == last["id"]
            assert await ids(site, "ended=true&phase=succeeded&state=success") == ["1"]
            assert await ids(site, "ended=false") == []


async def test_a_watch_that_is_followed_says_so(tmp_path: Path) -> None:
    """In the list and by itself; and how often it failed to connect."""
    async with Simulator(interval=60) as sim, running(tmp_path, source=sim.base_url) as site:
        await add(site, "1")

        async def connected() -> bool:
            return bool((await items(site))[0]["connected"])

        await until(connected)
        told = (await site.get("/v1/watches/vidu/1")).json
        assert (told["connected"], told["connection"]["open"]) == (True, True)


async def test_a_watch_that_cannot_connect_says_so(site: Site) -> None:
    """There is no upstream."""
    await add(site, "1")

    async def failing() -> bool:
        connection = (await site.get("/v1/watches/vidu/1")).json["connection"]
        return bool(not connection["open"] and connection["failures"])

    await until(failing)


async def test_an_open_stream_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """With what it sent; the same is told of the last connection once it has ended."""
    async with (
        Simulator(transcript=parse_lines(b'data: {"status": "PAUSED"}\n'), keep_open=True) as sim,
        running(tmp_path, source=sim.base_url) as site,
    ):
        await add(site, "1")

        async def unread() -> bool:
            connection = (await site.get("/v1/watches/vidu/1")).json["connection"]
            return bool(connection["open"] and '; it sent {"status": "PAUSED"}' in (connection["unread"] or ""))

        await until(unread)
        item = (await site.get("/v1/watches/vidu/1")).json
        assert any(line.plain.startswith("  stream  open, but it cannot be read: the snap") for line in lines(item, {}))


async def test_a_watch_is_let_go_of(tmp_path: Path) -> None:
    """Its stream is closed, it is gone from lists, and asked for again it is new."""
    async with Simulator(interval=60) as sim, running(tmp_path, source=sim.base_url) as site:
        await add(site, "1")

        async def open_streams(count: int) -> bool:
            return bool((await site.get("/v1/status")).json["sources"][0]["open"] == count)

        await until(lambda: open_streams(1))
        assert (await site.ask("DELETE", "/v1/watches/vidu/1")).status == 204
        await until(lambda: open_streams(0))
        assert await ids(site) == []
        for method in ("GET", "DELETE"):
            assert (await site.ask(method, "/v1/watches/vidu/1")).problem(404)
        assert (await add(site, "1")).status == 201
        await until(lambda: open_streams(1))


@pytest.mark.parametrize("path", ["nobody/1", "vidu/2", "vidu/%00", "vidu/%FF", "vidu/" + "x" * 6000])
async def test_an_unknown_watch_is_a_problem(site: Site, path: str) -> None:
    """404, or 400 where there can be none."""
    for method in ("GET", "DELETE"):
        reply = await site.ask(method, f"/v1/watches/{path}")
        assert reply.problem(reply.status)
        assert reply.status in (404, 400)


async def test_bytes_that_are_no_text_find_nothing(site: Site) -> None:
    """In the path and in the query, as some clients send them."""
    for target in ("/v1/watches/vidu/\udcff", "/v1/watches?q=\udcff", "/v1/watches?label=\udcff:x"):
        assert (await site.get(target)).status in (200, 400, 404)


# -- many


@pytest.mark.unmeasured
async def test_ten_thousand_at_once_while_streams_flow(tmp_path: Path) -> None:
    """One request adds them all; the streams that are open lose nothing and nothing waits for it."""
    async with Simulator() as sim, Listener(secrets=[SECRET]) as listener:
        endpoints = (
            f'{{app: {{type: webhook, url: "{listener.url}", secrets: ["{SECRET}"], match: {{labels: {{a: b}}}}}}}}'
        )
        async with running(tmp_path, source=sim.base_url, endpoints=endpoints) as site:
            flowing = [{"id": f"flow {number}", "labels": {"a": "b"}} for number in range(200)]
            assert (await add(site, flowing)).status == 201
            await listener.wait(20)
            many = [
                {"id": str(number), "labels": {"n": str(number)}, "metadata": {"n": number}} for number in range(10_000)
            ]
            adding = asyncio.create_task(add(site, many))
            longest, loop = 0.0, asyncio.get_running_loop()
            while not adding.done():
                before = loop.time()
                await asyncio.sleep(0.001)
                longest = max(longest, loop.time() - before)
            reply = adding.result()
            assert (reply.status, reply.json["created"]) == (201, 10_000)
            assert longest < 10.0 * slowness()  # a loop held up for all of it would take longer
            callbacks = await listener.wait(600)
            assert len({callback.id for callback in callbacks}) >= 600
            assert (await add(site, many)).json["existing"] == 10_000


async def test_the_trace_of_a_request_is_kept(tmp_path: Path) -> None:
    """Of its header, for watches without one of their own; one that is not valid counts for nothing."""
    own, outer = f"00-{'a' * 32}-{'1' * 16}-01", f"00-{'b' * 32}-{'2' * 16}-00"
    async with running(tmp_path) as site:
        body = json.dumps(["1", {"id": "2", "traceparent": own}]).encode()
        headers = {"Content-Type": "application/json"}
        assert (await site.post("/v1/watches", body, **headers, traceparent=outer)).status == 201
        assert (await site.post("/v1/watches", b'"3"', **headers, traceparent="nonsense")).status == 201
        refused = await site.post("/v1/watches", b'{"id": "4", "traceparent": "nonsense"}', **headers)
        assert refused.status == 422
        assert "traceparent: expected 00-" in refused.body.decode()
        assert {item["id"]: item["traceparent"] for item in await items(site)} == {"1": outer, "2": own, "3": None}
