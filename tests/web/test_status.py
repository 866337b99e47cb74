"""The status of the daemon tells what cannot work."""

from __future__ import annotations

from pathlib import Path

from ports import free_port
from site_running import running
from waits import until

from notifier.cli.status import amounts, attention
from notifier.tools.simulator import Simulator


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


async def test_tasks_that_wait_for_a_stream_need_attention(tmp_path: Path) -> None:
    """With the limit that holds them up; not while they only wait for their turn to connect."""
    async with (
        Simulator(interval=60) as sim,
        running(tmp_path, source=sim.base_url, watches='["1", "2", "3"]') as site,
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
        [(problem, command)] = attention(report, " -c x")
        assert problem.startswith("vidu: 2 tasks waiting for a free stream; max_streams is 1: ")
        assert command == "notifier reload -c x"
        assert ", 2 waiting for a free stream, " in amounts(report)
        [source] = report["sources"]
        assert not list(attention(report | {"sources": [source | {"open": 0, "following": 0}]}, ""))
