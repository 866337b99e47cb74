"""Endpoints over HTTP: their facts without secrets, and the test of whether they can be reached."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from site_running import SECRET, running
from waits import until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator


async def test_an_endpoint_is_listed_without_what_may_be_secret(tmp_path: Path) -> None:
    """Scheme and host of its URL, and nothing after them or before."""
    endpoints = (
        f'{{app: {{type: webhook, url: "http://127.0.0.1:9/hooks/S3CRET?key=S3CRET", secrets: ["{SECRET}"]}},'
        ' ops: {type: slack, url: "https://hooks.slack.com/services/T0/B0/S3CRET"}}'
    )
    async with running(tmp_path, endpoints=endpoints) as site:
        reply = await site.get("/v1/endpoints")
        told = {item["name"]: (item["type"], item["url"], item["state"]) for item in reply.json["items"]}
        assert told == {
            "app": ("webhook", "http://127.0.0.1:9", "ok"),
            "ops": ("slack", "https://hooks.slack.com", "ok"),
        }
        assert b"S3CRET" not in reply.body


async def test_what_an_endpoint_met_lately_is_told(tmp_path: Path) -> None:
    """The last success and the last error with their times, and since when nothing was accepted."""
    async with Simulator() as sim, Listener(secrets=[SECRET], respond="200,500") as listener:
        endpoints = f'{{app: {{type: webhook, url: "{listener.url}", secrets: ["{SECRET}"]}}}}'
        async with running(tmp_path, source=sim.base_url, endpoints=endpoints) as site:

            async def health() -> dict[str, Any]:
                [item] = (await site.get("/v1/endpoints")).json["items"]
                return dict(item)

            new = await health()
            told = ("failing_since", "next_attempt", "last_success", "last_failure", "last_error")
            assert [new[key] for key in told] == [None] * 5
            await site.post("/v1/watches", b'"1"')
            await listener.wait(2)

            async def failed() -> bool:
                return (await health())["last_error"] is not None

            await until(failed, "the failure is known")
            now = await health()
            assert now["last_error"] == "the endpoint answered 500"
            assert now["failing_since"]
            assert new["last_success"] is None
            assert now["last_success"] < now["last_failure"]


async def test_a_test_is_sent_at_once_and_signed(tmp_path: Path) -> None:
    """Also to a disabled endpoint, and beside the outbox: nothing of it is kept."""
    async with Listener(secrets=[SECRET]) as listener:
        endpoints = f'{{app: {{type: webhook, url: "{listener.url}", secrets: ["{SECRET}"], events: [watch.lost]}}}}'
        async with running(tmp_path, endpoints=endpoints) as site:
            assert (await site.post("/v1/endpoints/app/disable")).status == 200
            told = (await site.post("/v1/endpoints/app/test")).json
            assert (told["outcome"], told["status"], told["reason"], told["detail"]) == ("delivered", 200, None, None)
            assert told["seconds"] > 0
            [callback] = await listener.wait(1)
            assert callback.verified
            assert callback.type == "notifier.test"
            assert (await site.get("/v1/deliveries")).json["items"] == []
            assert [item["type"] for item in (await site.get("/v1/events")).json["items"]] == ["endpoint.disabled"]
            assert (await site.get("/v1/endpoints")).json["items"][0]["state"] == "disabled"


@pytest.mark.parametrize(("status", "outcome"), [("500", "failed"), ("410", "gone"), ("404", "failed")])
async def test_a_test_that_fails_says_how_and_changes_nothing(tmp_path: Path, status: str, outcome: str) -> None:
    """The endpoint's health is judged by deliveries alone."""
    async with Listener(respond=status) as listener:
        endpoints = f'{{app: {{type: webhook, url: "{listener.url}", secrets: ["{SECRET}"]}}}}'
        async with running(tmp_path, endpoints=endpoints) as site:
            told = (await site.post("/v1/endpoints/app/test")).json
            assert (told["outcome"], told["status"]) == (outcome, int(status))
            assert told["reason"]
            assert (await site.get("/v1/endpoints")).json["items"][0]["state"] == "ok"


async def test_a_test_of_what_is_not_there(tmp_path: Path) -> None:
    """An endpoint that nobody listens at is an outcome; one that is not configured a problem."""
    endpoints = f'{{app: {{type: webhook, url: "http://127.0.0.1:9/", secrets: ["{SECRET}"]}}}}'
    async with running(tmp_path, endpoints=endpoints) as site:
        told = (await site.post("/v1/endpoints/app/test")).json
        assert (told["outcome"], told["status"]) == ("failed", None)
        assert told["reason"]
        assert "nobody" in (await site.post("/v1/endpoints/nobody/test")).problem(404)


async def test_a_test_goes_to_slack_in_its_words(tmp_path: Path) -> None:
    """As a message for people."""
    async with (
        Listener(respond="200") as listener,
        running(tmp_path, endpoints=f'{{ops: {{type: slack, url: "{listener.url}"}}}}') as site,
    ):
        await site.post("/v1/endpoints/ops/test")
        [callback] = await listener.wait(1)
        assert b"notifier.test" in callback.body
        assert b"blocks" in callback.body


async def test_a_sender_that_is_replaced_ends_its_test_first(tmp_path: Path) -> None:
    """A reload to another URL closes the old connections once the last attempt is over."""
    async with Listener(respond="slow:0.5") as old, Listener() as new:
        entry = f'{{app: {{type: webhook, url: "{old.url}", secrets: ["{SECRET}"]}}}}'
        async with running(tmp_path, endpoints=entry) as site:
            testing = asyncio.create_task(site.post("/v1/endpoints/app/test"))
            await old.wait(1)
            site.path.write_text(site.path.read_text().replace(old.url, new.url))
            assert (await site.post("/v1/reload")).status == 200
            assert (await site.post("/v1/endpoints/app/test")).json["outcome"] == "delivered"
            assert not testing.done()
            assert (await testing).json["outcome"] == "delivered"
            await new.wait(1)


async def test_endpoints_come_in_pages_like_any_list(tmp_path: Path) -> None:
    """`limit` and `cursor` lead through all of them, once each and in order; without a limit they come at once."""
    names = [f"e{number}" for number in range(5)]
    entries = ", ".join(f'{name}: {{type: slack, url: "https://hooks.slack.com/{name}"}}' for name in names)
    async with running(tmp_path, endpoints=f"{{{entries}}}") as site:
        whole = (await site.get("/v1/endpoints")).json
        assert [item["name"] for item in whole["items"]] == names
        assert whole["next"] is None
        pages: list[list[str]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await site.get(f"/v1/endpoints?limit=2{cursor}")).json
            pages.append([item["name"] for item in page["items"]])
            cursor = None if page["next"] is None else f"&cursor={page['next']}"
        assert pages == [names[:2], names[2:4], names[4:]]
        for path in ("/v1/mutes", "/v1/nodes"):
            assert (await site.get(f"{path}?limit=1")).json["next"] is None
        assert (await site.get("/v1/endpoints?limit=0")).status == 400
        assert (await site.get("/v1/endpoints?cursor=99")).json == {"items": [], "next": None}
