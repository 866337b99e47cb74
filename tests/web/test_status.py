"""The status of the daemon tells what cannot work."""

from __future__ import annotations

from pathlib import Path

from ports import free_port
from site_running import SECRET, Site, running
from waits import until

from notifier.cli.status import amounts, attention
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import parse_lines, parse_spec

APP = f'{{app: {{type: webhook, url: "http://127.0.0.1:9/", secrets: ["{SECRET}"]}}}}'


async def test_a_queue_that_brings_nothing_needs_attention(tmp_path: Path) -> None:
    """All else may be well."""
    url = f"redis://127.0.0.1:{free_port()}"
    async with running(tmp_path, queues=f'[{{url: "{url}", stream: watches}}]') as site:

        async def known() -> bool:
            [queue] = (await site.get("/v1/status")).json["queues"]
            return queue["problem"] is not None

        await until(known, "the queue's problem is known")
        report = (await site.get("/v1/status")).json
        assert report["ready"]
        [queue] = report["queues"]
        assert queue["name"] == "redis:watches"
        [(what, command)] = list(attention(report, ""))
        assert what.startswith("no watches from redis:watches: ")
        assert command == "journalctl -u notifier -o cat | grep '\"queue\\.'"


async def test_without_queues_nothing_is_said_of_them(tmp_path: Path) -> None:
    async with running(tmp_path) as site:
        report = (await site.get("/v1/status")).json
    assert report["queues"] == []
    assert list(attention(report, "")) == []


async def test_what_ails_a_source_is_told_in_words(tmp_path: Path) -> None:
    """The upstream's answer with what to do about it; no state where the preset says; a state in no list."""
    async with (
        Simulator(token="another", interval=60) as sim,
        running(tmp_path, endpoints=APP, source=sim.base_url, watches='["1"]') as site,
    ):
        point = await first_point(site)
        assert point[0].startswith("vidu: 1 task of 1 cannot be read: ")
        assert "401" in point[0]
        assert point[1:] == ("# check the source's token",)
    async with (
        Simulator(transcript=parse_lines(b'data: {"status": "PAUSED"}\n'), keep_open=True) as sim,
        running(directory(tmp_path, "unreadable"), endpoints=APP, source=sim.base_url, watches='["1"]') as site,
    ):
        point = await first_point(site)
        assert "no state" in point[0], point
        assert '"status": "PAUSED"' in point[0]
        assert "paths" in point[1]
    async with (
        Simulator(transcript=parse_spec("PAUSED"), keep_open=True) as sim,
        running(directory(tmp_path, "unknown"), endpoints=APP, source=sim.base_url, watches='["1"]') as site,
    ):
        point = await first_point(site)
        assert point[0].startswith('vidu: the state "PAUSED" is in no list, and counts as running; ')
        assert point[1] == 'states: {running: ["processing", "PAUSED"]}'


async def test_a_watch_that_was_given_up_needs_attention_until_it_is_removed(tmp_path: Path) -> None:
    """With its reason, and the commands that list such watches and put one away."""
    async with (
        Simulator(interval=60) as sim,
        running(tmp_path, endpoints=APP, source=sim.base_url, watches='["unknown-1"]') as site,
    ):
        site.path.write_text(site.path.read_text().replace("token: tok}", "token: tok, not_found_grace: 0s}"))
        assert (await site.post("/v1/reload")).status == 200
        points: list[tuple[str, ...]] = []

        async def given_up() -> bool:
            points[:] = attention((await site.get("/v1/status")).json, "")
            return bool(points) and "given up" in points[0][0]

        await until(given_up, "the watch is given up, and counted")
        what = "vidu: 1 task given up in the last 24 hours (1 not_found); one that is removed counts no longer"
        commands = ("notifier watch list -s vidu -p lost", "notifier watch remove vidu/ID")
        assert points == [(what, *commands)]
        await site.ask("DELETE", "/v1/watches/vidu/unknown-1")

        async def well() -> bool:
            return not list(attention((await site.get("/v1/status")).json, ""))

        await until(well, "a watch that was removed counts no longer")


async def test_watches_that_nobody_hears_of_are_told(tmp_path: Path) -> None:
    """Added by a file or by the API, and until a reload gives them an endpoint."""
    narrow = APP.replace("}}", ", match: {labels: {team: video}}}}")
    async with (
        Simulator(interval=60) as sim,
        running(tmp_path, endpoints=narrow, source=sim.base_url, watches='["1"]') as site,
    ):
        await site.post("/v1/watches", b'[{"id": "2"}, {"id": "3", "labels": {"team": "video"}}]')

        async def both() -> bool:
            [source] = (await site.get("/v1/status")).json["sources"]
            return bool(source["unheard"] == 2)

        await until(both, "both are counted")
        (what, command) = await first_point(site)
        assert what == "vidu: no endpoint receives the events of 2 tasks: no `match` accepts them"
        assert command == "notifier watch list -s vidu --open"
        site.path.write_text(site.path.read_text().replace(narrow, APP))
        assert (await site.post("/v1/reload")).status == 200

        async def well() -> bool:
            return not list(attention((await site.get("/v1/status")).json, ""))

        await until(well, "every watch has a receiver")


def directory(parent: Path, name: str) -> Path:
    """Make a directory."""
    made = parent / name
    made.mkdir()
    return made


async def first_point(site: Site) -> tuple[str, ...]:
    """Wait until something needs attention; return it with its commands.

    On a slow machine the first connection alone may take so long that the status tells of it.
    """
    points: list[tuple[str, ...]] = []

    async def told() -> bool:
        listed = attention((await site.get("/v1/status")).json, "")
        points[:] = [point for point in listed if "no stream is open" not in point[0]]
        return bool(points)

    await until(told, "something needs attention")
    return points[0]


async def test_tasks_that_wait_for_a_stream_need_attention(tmp_path: Path) -> None:
    """With the limit that holds them up; not while they only wait for their turn to connect."""
    async with (
        Simulator(interval=60) as sim,
        running(tmp_path, endpoints=APP, source=sim.base_url, watches='["1", "2", "3"]') as site,
    ):
        site.path.write_text(site.path.read_text().replace("token: tok}", "token: tok, max_streams: 1}"))
        assert (await site.post("/v1/reload")).status == 200
        for task_id in ("4", "5"):
            await site.post("/v1/watches", f'"{task_id}"'.encode())

        async def waiting() -> bool:
            [source] = (await site.get("/v1/status")).json["sources"]
            return (source["waiting"], source["max_streams"]) == (2, 1)

        await until(waiting)
        report = (await site.get("/v1/status")).json
        report["endpoints"] = []  # there is no such receiver, which is another matter
        [(problem, command)] = attention(report, " -c x")
        assert problem.startswith("vidu: 2 tasks waiting for a free stream; max_streams is 1: ")
        assert command == "notifier reload -c x"
        assert ", 2 waiting for a free stream, " in amounts(report)
        [source] = report["sources"]
        assert not list(attention(report | {"sources": [source | {"open": 0, "following": 0}]}, ""))
