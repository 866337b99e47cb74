"""Mutes over HTTP and by command: what is muted is settled, and never sent; webhooks cannot be muted."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from site_running import SECRET, Reply, Site, running
from waits import until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript, snapshot

SUCCESS = Transcript(snapshots=(snapshot("success"),))


def endpoints(listener: Listener) -> str:
    return (
        f'{{app: {{type: webhook, url: "{listener.base_url}/app", secrets: ["{SECRET}"]}},'
        f' ops: {{type: slack, url: "{listener.base_url}/slack", rate_limit: 1000/s}}}}'
    )


async def ask(site: Site, **body: Any) -> Reply:
    headers = {"Content-Type": "application/json"}
    return await site.post("/v1/mutes", json.dumps(body).encode(), **headers)


async def follow(site: Site, task: str, **labels: str) -> None:
    body = json.dumps({"id": task, "labels": labels}).encode()
    assert (await site.post("/v1/watches", body, **{"Content-Type": "application/json"})).status == 201


async def statuses(site: Site, endpoint: str) -> dict[str, str]:
    items = (await site.get(f"/v1/deliveries?endpoint={endpoint}")).json["items"]
    return {item["task"]: item["status"] for item in items}


async def test_what_is_muted_is_settled_and_never_sent(tmp_path: Path) -> None:
    """By label; other tasks, webhooks and what comes after the mute are told."""
    async with Simulator(transcript=SUCCESS) as sim, Listener(respond="200") as listener:
        more: dict[str, Any] = {"endpoints": endpoints(listener), "source": sim.base_url}
        async with running(tmp_path, **more) as site:
            made = await ask(site, endpoint="ops", labels={"team": "video"}, comment="load test", **{"for": "1h"})
            assert made.status == 201
            await follow(site, "muted", team="video")
            await follow(site, "told", team="audio")

            async def done() -> bool:
                return await statuses(site, "ops") == {"muted": "muted", "told": "delivered"}

            await until(done, "both deliveries are settled")
            [delivery] = (await site.get("/v1/deliveries?status=muted")).json["items"]
            assert delivery["reason"] == f"muted by {made.json['id']}"
            status = (await site.get("/v1/status")).json
            assert [item["comment"] for item in status["mutes"]] == ["load test"]
            assert (await site.ask("DELETE", f"/v1/mutes/{made.json['id']}")).status == 204
            assert (await site.ask("DELETE", f"/v1/mutes/{made.json['id']}")).status == 404
            assert (await site.ask("DELETE", "/v1/mutes/%00")).status == 400
            assert (await site.get("/v1/mutes")).json == {"items": [], "next": None}
            await follow(site, "later", team="video")
            await listener.wait_for(lambda heard: sum(c.path == "/slack" for c in heard.callbacks) == 2)
            await listener.wait_for(lambda heard: sum(c.path == "/app" for c in heard.callbacks) == 3)
            told = [callback.text for callback in listener.callbacks if callback.path == "/slack"]
    assert [("`told`" in (text or ""), "`later`" in (text or "")) for text in told] == [(True, False), (False, True)]


async def test_a_mute_holds_after_a_restart_and_for_what_waits(tmp_path: Path) -> None:
    """What the endpoint has refused before is not sent any more either."""
    async with Simulator(transcript=SUCCESS) as sim, Listener(respond=["/slack=500", "/app=200"]) as listener:
        more: dict[str, Any] = {"endpoints": endpoints(listener), "source": sim.base_url}
        async with running(tmp_path, **more) as site:
            await follow(site, "1")
            await listener.wait_for(lambda heard: any(c.path == "/slack" for c in heard.callbacks))
            assert (await ask(site, until="2100-01-01T00:00:00Z")).status == 201
        async with running(tmp_path, **more) as site:
            [mute] = (await site.get("/v1/mutes")).json["items"]
            assert (mute["endpoint"], mute["labels"], mute["until"]) == (None, {}, "2100-01-01T00:00:00.000000Z")
            await follow(site, "2")

            async def done() -> bool:
                return await statuses(site, "ops") == {"1": "muted", "2": "muted"}

            await until(done, "both deliveries are muted")


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        ({"endpoint": "app", "for": "1h"}, 409, "app is a webhook"),
        ({"endpoint": "nobody", "for": "1h"}, 404, "there is no endpoint nobody"),
        ({"endpoint": "ops"}, 400, "say either `until`"),
        ({"for": "1h", "until": "2100-01-01T00:00:00Z"}, 400, "say either `until`"),
        ({"for": "soon"}, 400, "for: expected a duration"),
        ({"for": "0s"}, 400, "over already"),
        (
            {"for": 7200},
            400,
            "for: expected a duration such as 250ms, 90s, 5m, 2h or 5d, got 7200; add a unit, as in 7200s",
        ),
        ({"for": 0.5}, 400, "got 0.5; add a unit, as in 0.5s"),
        ({"for": True}, 400, "got true"),
        ({"for": ["2h"]}, 400, "got a list"),
        ({"until": "2020-01-01T00:00:00Z"}, 400, "over already"),
        ({"until": "tomorrow"}, 400, "until: expected a time"),
        ({"for": "1h", "label": "x"}, 400, "unknown key; there are endpoint, labels, until, for, comment"),
        ({"for": "1h", "labels": {"a": True}}, 400, "labels: expected text, got true; put it in quotes"),
        ({"for": "1h", "labels": {"a": 1.5}}, 400, "labels: expected text, got 1.5"),
        ({"for": "1h", "labels": {"a": None}}, 400, "labels: expected text, got null"),
        ({"for": "1h", "labels": ["a"]}, 400, "labels"),
    ],
)
async def test_what_cannot_be_muted_is_refused(tmp_path: Path, body: dict[str, Any], status: int, part: str) -> None:
    """In words."""
    async with Listener() as listener, running(tmp_path, endpoints=endpoints(listener)) as site:
        reply = await ask(site, **body)
        assert reply.status == status
        assert part in reply.body.decode()
        assert (await site.get("/v1/mutes")).json["items"] == []


async def test_labels_are_read_as_those_of_watches(tmp_path: Path) -> None:
    """A whole number is text; what a watch's labels refuse is refused in the same words."""
    async with Listener() as listener, running(tmp_path, endpoints=endpoints(listener)) as site:
        values: list[Any] = [5, "5", "", "\0", "x" * 6000, True, 1.5, None, -1, []]
        for number, value in enumerate(values):
            labels = {"a:b": value}
            mute = await ask(site, labels=labels, **{"for": "1h"})
            body = json.dumps({"id": str(number), "labels": labels}).encode()
            watch = await site.post("/v1/watches", body, **{"Content-Type": "application/json"})
            if watch.status == 201:
                assert (mute.status, mute.json["labels"]) == (201, watch.json["labels"]), value
            else:
                assert mute.status == 400, value
                [problem] = watch.json["problems"]
                assert mute.json["detail"].partition(": ")[2] == problem.partition(": ")[2]


async def test_all_mutes_end_at_once(tmp_path: Path) -> None:
    """However many there are, also none."""
    async with Listener() as listener, running(tmp_path, endpoints=endpoints(listener)) as site:
        for count in (0, 1, 3):
            for _ in range(count):
                assert (await ask(site, **{"for": "1h"})).status == 201
            assert (await site.ask("DELETE", "/v1/mutes?endpoint=ops")).status == 400
            assert len((await site.get("/v1/mutes")).json["items"]) == count
            assert (await site.ask("DELETE", "/v1/mutes")).status == 204
            assert (await site.get("/v1/mutes")).json["items"] == []


@pytest.mark.parametrize(
    "until", ["9999-12-31T23:59:59-10:00", "9999-12-31T23:59:59.999999-00:01", "9999-12-31T23:59:59Z"]
)
async def test_a_mute_until_the_end_of_the_world_is_listed(tmp_path: Path, until: str) -> None:
    """Its end is at most the last moment that can be written in UTC."""
    async with Listener() as listener, running(tmp_path, endpoints=endpoints(listener)) as site:
        made = await ask(site, until=until)
        assert made.status == 201
        assert made.json["until"].startswith("9999-12-31T23:59:59.")
        assert (await site.get("/v1/mutes")).json["items"] == [made.json]
        assert (await site.get("/v1/status")).json["mutes"] == [made.json]


async def test_the_commands(tmp_path: Path) -> None:
    """Add, list and remove; `status` shows what is muted, and a webhook is refused."""
    async with Listener() as listener, running(tmp_path, endpoints=endpoints(listener)) as site:

        async def notifier(*arguments: str) -> tuple[int | None, str]:
            command = [sys.executable, "-m", "notifier", *arguments, "-c", str(site.path)]
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            out, _ = await process.communicate()
            return process.returncode, out.decode()

        address = site.app.address
        site.path.write_text(site.path.read_text().replace("127.0.0.1:0", str(address).removeprefix("http://")))
        code, out = await notifier("mute", "add", "ops", "-l", "team=video", "--for", "2h", "--comment", "load test")
        assert (code, "ops is muted for tasks with team=video until" in out) == (0, True), out
        name = out.split(":")[0]
        code, out = await notifier("mute", "list")
        assert (code, name in out, "load test" in out) == (0, True, True), out
        code, out = await notifier("status")
        assert "ops, tasks with team=video, until" in out, out
        code, out = await notifier("mute", "add", "app", "--for", "2h")
        assert (code, "app is a webhook" in out) == (1, True), out
        code, out = await notifier("mute", "add", "ops")
        assert (code, "say either --for" in out) == (2, True), out
        code, out = await notifier("mute", "remove", name)
        assert (code, out) == (0, f"{name} is over\n")
        assert (await site.get("/v1/mutes")).json["items"] == []
