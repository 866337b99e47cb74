"""Every route of a running daemon: its answers, and its errors as problems by RFC 9457."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from site_running import SECRET, Site, running, text
from waits import until

from notifier import __version__
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    endpoints = f'{{app: {{type: webhook, url: "http://127.0.0.1:9/", secrets: ["{SECRET}"]}}}}'
    async with running(tmp_path, endpoints=endpoints) as made:
        yield made


# -- health and metrics


async def test_health(site: Site) -> None:
    """Both probes answer in plain text."""
    for path in ("/healthz", "/readyz"):
        reply = await site.get(path)
        assert (reply.status, reply.body) == (200, b"ok\n")


@pytest.mark.usefixtures("brief_locks")
async def test_not_ready_while_the_store_cannot_be_written(tmp_path: Path, site: Site) -> None:
    """503 with the reason, and a retry says the same; alive and readable all the same; and ready again by itself."""
    connection = sqlite3.connect(tmp_path / "n.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    refused = await site.post("/v1/deliveries/retry")
    assert "the store cannot be used for now" in refused.problem(503)
    assert refused.headers["retry-after"] == "1"
    again = await site.post("/v1/deliveries/retry")
    assert again.json["detail"] == refused.json["detail"] == "the store cannot be used for now: database is locked"
    reload = await site.post("/v1/reload")  # its files are good: they are not what is refused
    assert "the store cannot be used for now" in reload.problem(503)
    assert reload.headers["retry-after"] == "1"
    reply = await site.get("/readyz")
    assert (reply.status, reply.body) == (503, b"the store cannot be written\n")
    assert (await site.get("/healthz")).status == 200
    assert (await site.get("/v1/status")).json["store"] == {"available": False}
    for command in ("disable", "disable", "enable"):
        reply = await site.post(f"/v1/endpoints/app/{command}")
        assert reply.problem(503) == "the store cannot be used for now: database is locked"
        assert (await site.get("/v1/endpoints")).json["items"][0]["state"] == "ok"
    connection.execute("ROLLBACK")
    connection.close()

    async def ready() -> bool:
        return (await site.get("/readyz")).status == 200

    await until(ready, "the store is back")
    assert (await site.post("/v1/endpoints/app/disable")).status == 200


async def test_answers_end_their_line(site: Site) -> None:
    """A terminal's next prompt stands below them; problems do as well."""
    assert (await site.get("/v1/status")).body.endswith(b"}\n")
    assert (await site.get("/v1/watches/vidu/nobody")).body.endswith(b"}\n")


async def test_metrics(site: Site) -> None:
    """Prometheus text, with the endpoint's state and every name that was promised."""
    reply = await site.get("/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    told = reply.body.decode()
    assert 'notifier_endpoint_state{endpoint="app",state="ok"} 1.0' in told
    assert 'notifier_deliveries_pending{endpoint="app"} 0.0' in told
    for name in (
        "watches",
        "streams_open",
        "stream_connects_total",
        "observations_total",
        "events_total",
        "delivery_attempts_total",
        "deliveries_pending",
        "delivery_oldest_seconds",
        "delivery_latency_seconds",
        "endpoint_state",
        "reload_success",
        "reload_timestamp_seconds",
        "store_commit_seconds",
        "build_info",
    ):
        assert f"# TYPE notifier_{name.removesuffix('_total')}" in told, name


async def test_metrics_forget_an_endpoint_that_is_gone(tmp_path: Path, site: Site) -> None:
    """After a reload without it, no line of it is left."""
    assert 'endpoint="app"' in (await site.get("/metrics")).body.decode()
    site.path.write_text(text(tmp_path, http='{listen: "127.0.0.1:0"}'))
    reloaded = (await site.post("/v1/reload")).json
    assert (reloaded["reloaded"], reloaded["removed"]) == (True, ["endpoint app"])
    told = (await site.get("/metrics")).body.decode()
    for name in ("deliveries_pending", "deliveries_dead", "delivery_oldest_seconds", "endpoint_state"):
        assert f"\nnotifier_{name}{{" not in told


async def test_head_is_answered_without_a_body(site: Site) -> None:
    """For every GET route."""
    for path in ("/healthz", "/readyz", "/metrics", "/v1/status", "/v1/deliveries", "/v1/endpoints"):
        reply = await site.ask("HEAD", path)
        assert (reply.status, reply.body) == (200, b""), path


# -- the API


async def test_status(site: Site) -> None:
    """The facts for a first look, and no secret."""
    told = (await site.get("/v1/status")).json
    assert told["version"] == __version__
    assert told["ready"] is True
    assert told["config"] == str(site.path)
    [source] = told["sources"]
    counts = {"watches": {}, "following": 0, "open": 0, "waiting": 0, "max_streams": 2000, "unheard": 0}
    states = {"unknown_states": [], "running_states": ["processing"]}
    assert source == {"name": "vidu", **counts, "troubles": {}, "errors": {}, "lost_lately": {}, **states}
    assert told["archive"] == {"problem": None}
    assert [found["name"] for found in told["endpoints"]] == ["app"]
    assert "tok" not in json.dumps(told).split('"')


async def test_endpoints_are_disabled_and_enabled(tmp_path: Path, site: Site) -> None:
    """Repeating either changes nothing; an unknown one is a problem."""
    for _ in range(2):
        assert (await site.post("/v1/endpoints/app/disable")).json == {"endpoint": "app", "enabled": False}
        [item] = (await site.get("/v1/endpoints")).json["items"]
        assert (item["name"], item["state"], item["reason"]) == ("app", "disabled", "operator")
    for _ in range(2):
        assert (await site.post("/v1/endpoints/app/enable")).json == {"endpoint": "app", "enabled": True}
        [item] = (await site.get("/v1/endpoints")).json["items"]
        assert (item["state"], item["reason"]) == ("ok", None)
    assert "nobody" in (await site.post("/v1/endpoints/nobody/enable")).problem(404)
    (await site.post("/v1/endpoints/nobody/disable")).problem(404)


async def test_deliveries_are_listed_shown_and_retried(tmp_path: Path) -> None:
    """Pages from the newest on; one with its attempts and payload; a dead one goes out again under its id."""
    async with Simulator() as sim, Listener(respond="500x3,200", secrets=[SECRET]) as listener:
        endpoints = (
            f'{{app: {{type: webhook, url: "{listener.url}", secrets: ["{SECRET}"], retry_schedule: [0s],'
            " max_in_flight: 1}}"
        )
        async with running(tmp_path, source=sim.base_url, endpoints=endpoints, watches='["1"]') as site:
            await listener.wait(3)

            async def dead() -> bool:
                return len((await site.get("/v1/deliveries?status=dead")).json["items"]) == 3

            await until(dead)
            pages = []
            cursor = ""
            while cursor is not None:
                page = (await site.get(f"/v1/deliveries?limit=1{cursor and f'&cursor={cursor}'}")).json
                pages.append(page["items"])
                cursor = page["next"]
            numbers = [item["id"] for page in pages for item in page]
            assert len(numbers) == 3
            assert numbers == sorted(numbers, reverse=True)
            assert (await site.get("/v1/deliveries?status=delivered")).json == {"items": [], "next": None}
            assert (await site.get("/v1/deliveries?endpoint=other")).json["items"] == []
            of_watch = (await site.get("/v1/deliveries?watch=vidu/1&status=dead&limit=2")).json
            assert [item["id"] for item in of_watch["items"]] == numbers[:2]
            rest = (await site.get(f"/v1/deliveries?watch=vidu/1&limit=2&cursor={of_watch['next']}")).json
            assert ([item["id"] for item in rest["items"]], rest["next"]) == (numbers[2:], None)
            assert (await site.get("/v1/deliveries?watch=vidu/2")).json["items"] == []
            assert "SOURCE/ID" in (await site.get("/v1/deliveries?watch=1")).problem(400)
            assert (await site.get("/v1/deliveries?until=2001-01-01T00:00:00Z")).json["items"] == []
            assert len((await site.get("/v1/deliveries?since=2001-01-01T00:00:00%2B01:00")).json["items"]) == 3

            shown = (await site.get(f"/v1/deliveries/{numbers[-1]}")).json
            assert (shown["task"], shown["status"], shown["reason"]) == ("1", "dead", "http_500")
            assert [attempt["status"] for attempt in shown["attempts"]] == [500]
            assert shown["payload"]["data"]["state"] == "queueing"

            assert (await site.post(f"/v1/deliveries/{numbers[-1]}/retry")).json == {"retried": 1}
            callbacks = await listener.wait(4)
            assert callbacks[3].id == callbacks[0].id == shown["event_id"]

            async def delivered() -> bool:
                return bool((await site.get(f"/v1/deliveries/{numbers[-1]}")).json["status"] == "delivered")

            await until(delivered)
            again = await site.post(f"/v1/deliveries/{numbers[-1]}/retry")
            assert "delivered, not dead" in again.problem(409)
            body = json.dumps({"endpoint": "app"}).encode()
            assert (await site.post("/v1/deliveries/retry", body)).json == {"retried": 2}
            await listener.wait(6)
            assert (await site.post("/v1/deliveries/retry", b'{"endpoint": "other"}')).problem(404)


async def test_a_reload_takes_effect_or_changes_nothing(tmp_path: Path, site: Site) -> None:
    """Refused with 422 and every problem, placed; the old configuration stays in force."""
    good = site.path.read_text()
    site.path.write_text(good + "\nnonsense: 1\nlog: {level: loud}\n")
    reply = await site.post("/v1/reload")
    assert "nothing was changed" in reply.problem(422)
    problems = reply.json["problems"]
    assert len(problems) == 2
    assert all(str(site.path.name) in problem for problem in problems)
    assert [item["name"] for item in (await site.get("/v1/endpoints")).json["items"]] == ["app"]
    assert "notifier_reload_success 0.0" in (await site.get("/metrics")).body.decode()
    site.path.write_text(text(tmp_path, http='{listen: "127.0.0.1:0"}'))
    reloaded = (await site.post("/v1/reload")).json
    assert (reloaded["reloaded"], reloaded["removed"]) == (True, ["endpoint app"])
    assert (await site.get("/v1/endpoints")).json["items"] == []
    assert "notifier_reload_success 1.0" in (await site.get("/metrics")).body.decode()


async def test_a_configuration_file_that_is_gone_is_a_problem_too(site: Site) -> None:
    """Said in the same way as any other."""
    site.path.unlink()
    assert (await site.post("/v1/reload")).problem(422)


# -- what clients get wrong


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/v1/deliveries/7", 404),
        ("GET", "/v1/deliveries/9223372036854775807", 404),
        ("GET", "/v1/deliveries/9223372036854775808", 400),
        ("GET", "/v1/deliveries/-1", 400),
        ("GET", "/v1/deliveries/0x10", 400),
        ("GET", "/v1/deliveries/%00", 400),
        ("GET", "/v1/deliveries/%D9%A3", 400),  # a digit, but not one of ours
        ("POST", "/v1/deliveries/7/retry", 404),
        ("GET", "/v1/deliveries?limit=0", 400),
        ("GET", "/v1/deliveries?limit=1001", 400),
        ("GET", "/v1/deliveries?limit=1e3", 400),
        ("GET", "/v1/deliveries?limit=", 400),
        ("GET", "/v1/deliveries?limit=" + "9" * 3000, 400),
        ("GET", "/v1/deliveries?cursor=abc", 400),
        ("GET", "/v1/deliveries?cursor=-1", 400),
        ("GET", "/v1/deliveries?status=broken", 400),
        ("GET", "/v1/deliveries?since=yesterday", 400),
        ("GET", "/v1/deliveries?since=2026-11-22T06:00:00", 400),
        ("GET", "/v1/deliveries?since=2026-11-22", 400),
        ("PUT", "/v1/status", 405),
        ("GET", "/v1/reload", 405),
        ("GET", "/v1/deliveries/retry", 405),  # no delivery has that id
        ("GET", "/v1/deliveries/retryable", 400),
        ("DELETE", "/healthz", 405),
        ("POST", "/metrics", 405),
    ],
)
async def test_a_wrong_request_is_a_problem(site: Site, method: str, target: str, status: int) -> None:
    """Of the right status, with a sentence."""
    reply = await site.ask(method, target)
    assert reply.problem(status)
    if status == 405:
        assert reply.headers["allow"]


@pytest.mark.parametrize(
    "value",
    ["%FF", "%ED%A0%80", "'; DROP TABLE deliveries; --", "%F0%9F%8E%AC", "*", "a" * 5000, "%0d%0aX:%201", "\\"],
)
async def test_hostile_values_find_nothing(site: Site, value: str) -> None:
    """They are values like any other: no error, nothing found, nothing harmed."""
    given = value if "%" in value else quote(value)
    assert (await site.get(f"/v1/deliveries?endpoint={given}")).json == {"items": [], "next": None}
    assert (await site.post(f"/v1/endpoints/{given}/disable")).problem(404)
    assert (await site.get("/v1/deliveries")).status == 200


@pytest.mark.parametrize(
    "since",
    ["0001-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00-23:59", "20261122T060000Z"],
)
async def test_times_at_the_end_of_the_world(site: Site, since: str) -> None:
    """The first and the last moment that can be written."""
    assert (await site.get(f"/v1/deliveries?since={since}&until={since}")).json["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b"\xff\xfe",
        b'{"since": 5}',
        b'{"endpoint": ["app"]}',
        b"[" * 100_000,
        b'{"status": {}}',
    ],
)
async def test_a_wrong_body_is_a_problem(site: Site, body: bytes) -> None:
    """Text that is not JSON, or JSON that the API does not know."""
    assert (await site.post("/v1/deliveries/retry", body)).problem(400)


async def test_an_empty_body_means_all(site: Site) -> None:
    """Nothing is dead, so nothing is retried."""
    assert (await site.post("/v1/deliveries/retry")).json == {"retried": 0}


async def test_a_body_that_is_too_large_is_a_problem(site: Site) -> None:
    """413, for any content."""
    assert (await site.post("/v1/deliveries/retry", b" " * ((1 << 20) + 1))).problem(413)
