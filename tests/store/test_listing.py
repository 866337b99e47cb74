"""Lists are read along an index, as far as the page: rows beyond it are not read."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from statements import noted
from store_rig import running

from notifier.store import DeliveryFilter, EventFilter, WatchFilter


@pytest.fixture
def read() -> Iterator[list[tuple[str, Any]]]:
    """Collect the queries from here on."""
    with noted() as found:
        yield found


def plan(path: Path, read: list[tuple[str, Any]]) -> list[str]:
    connection = sqlite3.connect(path)
    steps = [row[3] for each in read for row in connection.execute(f"EXPLAIN QUERY PLAN {each[0]}", each[1])]
    connection.close()
    return steps


@pytest.mark.parametrize(
    ("which", "begins"),
    [
        (WatchFilter(), r"SCAN watches$"),  # along the primary key
        (WatchFilter(source="vidu"), r"SEARCH watches USING INDEX watches_of_source \(source=\?\)"),
        (WatchFilter(phase="running"), r"SCAN watches USING INDEX watches_going_on"),
        (WatchFilter(phase="new"), r"SCAN watches USING INDEX watches_going_on"),
        (WatchFilter(phase="failed"), r"SEARCH watches USING INDEX watches_ended \(phase=\?\)"),
        (WatchFilter(ended=False), r"SCAN watches USING INDEX watches_going_on"),
        (WatchFilter(source="vidu", phase="running"), r"SCAN watches USING INDEX watches_going_on"),
        (WatchFilter(source="vidu", phase="new"), r"SCAN watches USING INDEX watches_going_on"),
        (WatchFilter(source="vidu", phase="running", ended=False), r"SCAN watches USING INDEX watches_going_on"),
        (WatchFilter(source="vidu", phase="failed"), r"SEARCH watches USING INDEX watches_(ended|of_source)"),
        (WatchFilter(text="7"), r"SCAN watches$"),
    ],
)
@pytest.mark.parametrize("before", [None, 5])
async def test_watches_are_read_in_order(
    path: Path, url: str, read: list[tuple[str, Any]], which: WatchFilter, begins: str, before: int | None
) -> None:
    """Nothing is sorted, so a page costs what it shows."""
    async with running(url) as store:
        read.clear()
        await store.lists.watches(which, limit=100, before=before)
    step, *callback = plan(path, read)
    assert callback == [
        "CORRELATED SCALAR SUBQUERY 1",
        "SEARCH callbacks USING INDEX sqlite_autoindex_callbacks_1 (name=?)",
    ]
    if before is None:
        assert re.match(begins, step)
    assert "TEMP B-TREE" not in step


async def test_one_watch_is_found_by_its_name(path: Path, url: str, read: list[tuple[str, Any]]) -> None:
    """However many its source has."""
    async with running(url) as store:
        read.clear()
        await store.lists.watches(WatchFilter(source="vidu", id="7"), limit=1)
        await store.lists.watches(WatchFilter(source="vidu", id="7", phase="new"), limit=1)
    found = [step for step in plan(path, read) if " watches " in step]
    assert len(found) == 2
    assert all(re.search(r"\(source=\? AND id=\?\)", step) for step in found), found


@pytest.mark.parametrize("status", [None, "pending", "dead"])
@pytest.mark.parametrize("named", [{"watch": ("vidu", "7")}, {"task": "7"}])
async def test_a_watchs_deliveries_are_found_by_its_events(
    path: Path, url: str, read: list[tuple[str, Any]], status: str | None, named: dict[str, Any]
) -> None:
    """However many deliveries there are."""
    async with running(url) as store:
        read.clear()
        await store.lists.deliveries(DeliveryFilter(**named, status=status), limit=100, before=5)
    steps = plan(path, read)
    assert not any(step.startswith("SCAN deliveries") for step in steps), steps
    assert any("deliveries_event (event=?" in step for step in steps), steps


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (EventFilter(), ""),
        (EventFilter(type="task.succeeded"), "USING INDEX events_of_type (type=?"),
        (EventFilter(source="vidu"), ""),
    ],
)
@pytest.mark.parametrize("place", [{}, {"before": 5}, {"after": 5}])
async def test_events_are_read_in_order(
    path: Path, url: str, read: list[tuple[str, Any]], which: EventFilter, found: str, place: dict[str, Any]
) -> None:
    """Nothing is sorted: a page costs as much as it shows, and a follower reads new rows alone."""
    async with running(url) as store:
        read.clear()
        await store.lists.events(which, limit=100, **place)
    steps = plan(path, read)
    assert any(found in step for step in steps)
    assert not [step for step in steps if "TEMP B-TREE" in step]


async def test_a_watchs_events_are_found_by_it(path: Path, url: str, read: list[tuple[str, Any]]) -> None:
    """And not by looking through all."""
    async with running(url) as store:
        read.clear()
        await store.lists.events(EventFilter(source="vidu", task="1"), limit=100)
        await store.lists.watch("vidu", "1")
    steps = plan(path, read)
    assert any("USING INDEX events_watch (watch=?)" in step for step in steps)
    assert not [step for step in steps if re.match("SCAN (events|watches)", step)]


@pytest.mark.parametrize(
    ("which", "index"),
    [
        (DeliveryFilter(status="dead"), "SCAN deliveries USING INDEX deliveries_dead"),
        (DeliveryFilter(status="pending"), "SCAN deliveries USING INDEX deliveries_lane"),
        (DeliveryFilter(status="ready"), "SCAN deliveries USING INDEX deliveries_lane"),
        (DeliveryFilter(status="waiting"), "SCAN deliveries USING INDEX deliveries_lane"),
        (DeliveryFilter(status="dead", endpoint="app"), "SEARCH deliveries USING INDEX deliveries_dead (endpoint=?)"),
        (
            DeliveryFilter(status="pending", endpoint="app"),
            "SEARCH deliveries USING INDEX deliveries_lane (endpoint=?)",
        ),
    ],
)
@pytest.mark.parametrize("before", [None, 5])
async def test_deliveries_that_are_rare_are_found_by_their_index(
    path: Path, url: str, read: list[tuple[str, Any]], which: DeliveryFilter, index: str, before: int | None
) -> None:
    """After a look at the newest rows, which is bounded; what was delivered long ago is not read."""
    async with running(url) as store:
        read.clear()
        assert await store.lists.deliveries(which, limit=100, before=before) == []
    steps = [step.replace("COVERING ", "") for step in plan(path, read) if re.match(r"(SCAN|SEARCH) deliveries ", step)]
    assert steps == ["SEARCH deliveries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", index]
