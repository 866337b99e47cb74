"""Events over HTTP, in pages that do not shift while events are added, forwards and backwards."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from site_running import Site, running
from waits import until

from notifier.tools.simulator import Simulator


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with Simulator() as sim, running(tmp_path, source=sim.base_url, watches='["1", "2", "3"]') as made:
        await happened(made, 9)
        yield made


async def events(site: Site, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await site.get(f"/v1/events?{query}")).json["items"]
    return found


async def happened(site: Site, count: int) -> None:
    async def enough() -> bool:
        return len(await events(site, "limit=1000")) >= count

    await until(enough)


async def add(site: Site, *ids: str) -> None:
    assert (await site.post("/v1/watches", json.dumps(ids).encode())).status == 201


async def test_events_are_listed_newest_first(site: Site) -> None:
    """Each has its change of state, and no payload."""
    found = await events(site)
    assert [int(item["cursor"]) for item in found] == sorted((int(item["cursor"]) for item in found), reverse=True)
    last = next(item for item in found if item["task"] == "2")
    assert (last["source"], last["task"], last["sequence"], last["type"]) == ("vidu", "2", 3, "task.succeeded")
    assert (last["state"], last["phase"]) == ("success", "succeeded")
    assert (last["previous_state"], last["previous_phase"]) == ("processing", "running")
    assert last["id"].startswith("msg_")
    assert last["timestamp"].endswith("Z")
    assert "payload" not in last


async def test_filters(site: Site) -> None:
    """By source, watch and type; together they narrow."""
    assert len(await events(site, "source=vidu")) == 9
    assert await events(site, "source=other") == []
    assert [item["sequence"] for item in await events(site, "id=1")] == [3, 2, 1]
    assert await events(site, "id=1&source=other") == []
    assert await events(site, "id=nobody") == []
    assert {item["task"] for item in await events(site, "type=task.succeeded")} == {"1", "2", "3"}
    assert len(await events(site, "type=task.succeeded&id=1&source=vidu")) == 1


async def test_operators_events_belong_to_no_watch(tmp_path: Path, site: Site) -> None:
    """They are listed among the others, and can be asked for alone."""
    site.path.write_text("nonsense")
    (await site.post("/v1/reload")).problem(422)

    async def recorded() -> bool:  # which the answer does not wait for
        return bool(await events(site, "type=notifier.reload_failed"))

    await until(recorded)
    [item] = await events(site, "type=notifier.reload_failed")
    assert (item["source"], item["task"], item["state"], item["phase"]) == (None, None, None, None)
    assert (await events(site))[0] == item
    assert item not in await events(site, "source=vidu")


async def test_pages_back_stay_put_while_more_happens(site: Site) -> None:
    """Each event that there was at the first page comes once."""
    before = await events(site)
    seen: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        page = (await site.get(f"/v1/events?limit=2{cursor and f'&cursor={cursor}'}")).json
        seen += page["items"]
        cursor = page["next"]
        await add(site, f"later {len(seen)}")
    assert seen == before


async def test_pages_forward_end_with_what_is_newest(site: Site) -> None:
    """After a cursor, oldest first; `next` works as `cursor` and as `after`, and leads to events added meanwhile."""
    first = (await events(site))[-1]
    seen: list[dict[str, Any]] = []
    page = (await site.get(f"/v1/events?limit=3&after={first['cursor']}")).json
    by = ["cursor", "after"]
    while page["next"] is not None:
        seen += page["items"]
        if len(seen) == 3:
            await add(site, "later")
            await happened(site, 12)
        by.reverse()
        page = (await site.get(f"/v1/events?limit=3&{by[0]}={page['next']}")).json
    seen += page["items"]
    assert [first, *seen] == (await events(site))[::-1]
    newest = seen[-1]["cursor"]
    assert (await site.get(f"/v1/events?after={newest}")).json == {"items": [], "next": None}


@pytest.mark.parametrize(
    "query",
    ["type=task", "after=x", "after=", "after=b1", "cursor=-1", "cursor=b1", "limit=1001", "since=1", "id=1&id=2"],
)
async def test_a_wrong_query_is_a_problem(site: Site, query: str) -> None:
    """Nothing is passed over in silence."""
    assert (await site.get(f"/v1/events?{query}")).problem(400)
