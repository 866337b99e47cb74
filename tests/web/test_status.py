"""The status of the daemon tells what cannot work."""

from __future__ import annotations

from pathlib import Path

from ports import free_port
from site_running import running
from waits import until

from notifier.cli.status import attention


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
