"""Frequent statements find their rows by an index, however many deliveries wait.

Plans are compared, not times: what SQLite does is the same with two hundred thousand pending deliveries as with none.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from store_rig import LATER, T0, follow, lose, move, running, settled, wanted

from notifier.core.callback import Callback
from notifier.core.model import Address
from notifier.store import CallbackHealth, Dead, DeliveryFilter, Later, Recovery, Store, several, sqlite

PENDING = 200_000
LANES = 2_000  # with a hundred deliveries each, one of them ready


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a database in which very much waits, is dead and is done."""
    path = tmp_path_factory.mktemp("crowded") / "notifier.db"
    sqlite.prepare(path)
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("PRAGMA synchronous=OFF")
    raw.execute("BEGIN")
    raw.execute(
        f"""WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {LANES})
        INSERT INTO watches (pk, source, id, origin, labels, metadata, state, phase, sequence, stalled, ended,
            created_at, changed_at, updated_at)
        SELECT i + 1000000, 'vidu', 'old' || i, 'api', '{{}}', 'null', 'processing', 'running', 100, 0, 0,
            {T0}, {T0}, {T0} FROM n"""
    )
    raw.execute(
        f"""WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {PENDING - 1})
        INSERT INTO events (pk, id, watch, sequence, type, at, body)
        SELECT i + 1000000, 'msg_' || i, i % {LANES} + 1000001, i / {LANES} + 1, 'task.state_changed', {T0} + i, '{{}}'
        FROM n"""
    )
    raw.execute(
        """INSERT INTO deliveries (id, event, lane, endpoint, sequence, status, attempt, due, created_at, manual)
        SELECT pk, pk, watch, 'app', sequence, CASE sequence WHEN 1 THEN 'ready' ELSE 'waiting' END, 0, at, at, 0
        FROM events"""
    )
    raw.execute(
        """INSERT INTO deliveries (id, event, lane, endpoint, sequence, status, attempt, due, created_at, settled_at,
            manual)
        SELECT id + 1000000, event, lane, 'other', sequence, CASE id % 10 WHEN 0 THEN 'dead' ELSE 'delivered' END, 1,
            due, due, due, 0
        FROM deliveries"""
    )
    raw.execute("UPDATE counters SET value = 5000000")
    raw.execute("COMMIT")
    raw.close()
    return path


Statement = tuple[str, str]  # the SQL as the driver got it, its plan


class _Cursor(sqlite3.Cursor):
    """Has SQLite explain each statement before it runs, with the very parameters: a plan may depend on them."""

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        self._explain(sql, parameters)
        return super().execute(sql, parameters)

    def executemany(self, sql: str, rows: Any, /) -> Any:
        self._explain(sql, next(iter(rows)))
        return super().executemany(sql, rows)

    def _explain(self, sql: str, parameters: Any) -> None:
        if sql.split(None, 1)[0] in {"SELECT", "UPDATE", "INSERT", "DELETE", "WITH"}:
            rows = super().execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
            _explained.append((sql, "\n".join(row[3] for row in rows)))


class _Connection(sqlite3.Connection):
    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(_Cursor)


_explained: list[Statement] = []
GIVEN = {"SCAN given", "SCAN CONSTANT ROW", *(f"SCAN {count} CONSTANT ROWS" for count in several.ROWS)}  # no tables
_fresh = itertools.count()


@pytest.fixture
def explained(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """Collect what runs from here on."""
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=_Connection))
    _explained.clear()
    return _explained


async def hot_path(store: Store) -> None:
    """Do what a daemon does all day."""
    latest = (Address(endpoint="app", latest=True), Address(endpoint="other"))
    claimed = await store.watches.claim(10)
    names = [f"new {next(_fresh)}" for _ in range(4)]
    mine = [watch for watch in await follow(store, *names) if watch.id in names]
    await store.watches.release(claimed)
    one, two, three, four = mine
    one, taken = await move(store, one, "queueing", to=latest)
    one, _ = await move(store, one, "processing", to=latest)
    await lose(store, three)
    first, second = [await store.outbox.settle(settled(delivery)) for delivery in taken]
    assert first is not None
    assert second is not None
    await store.outbox.settle(settled(first, Later(due=LATER, attempt=1, reason="timeout"), latest=True))
    await store.outbox.settle(settled(second, Dead(attempt=1, reason="x"), take=False))
    assert await store.outbox.hasten(Recovery(endpoint="app", at=T0, failing_since=T0, created_after=T0))
    for watch in two, four:  # each endpoint has several to claim, however few wait: one alone needs no sorting
        await move(store, watch, "queueing", to=[Address(endpoint=name, take=False) for name in ("app", "other")])
    taken_up = (await store.outbox.claim({"app": 50, "other": 50}, now=LATER)).deliveries
    assert min(Counter(each.endpoint for each in taken_up).values()) > 1
    await store.outbox.retry(DeliveryFilter(id=second.id), now=LATER)
    await store.lists.delivery(taken[0].id)
    await store.watches.apply(
        [wanted(names[0], labels={"a": "b"}), wanted(f"new {next(_fresh)}")], origin="file", now=LATER
    )
    await store.watches.remove(two.source, two.id, now=LATER)
    await store.prune(T0 + 1500)


def plans(found: list[Statement]) -> dict[str, str]:
    """Return the plan of each kind of statement; lists of several parameters count as the same at any length."""
    return {re.sub(r"\(:\w+_0(, :\w+)*\)|\(\?(, \?)+\)", "(?, ...)", sql): plan for sql, plan in found}


def of(found: list[Statement], beginning: str, *, having: str = "") -> set[str]:
    """Return the plans of the statements that begin so, without the numbers of subqueries and given rows."""
    flat = ((" ".join(sql.split()), _told(plan)) for sql, plan in found)
    chosen = {plan for sql, plan in flat if sql.startswith(beginning) and having in sql}
    assert chosen, f"nothing ran that begins with {beginning}"
    return chosen


def _told(plan: str) -> str:
    return "\n".join(re.sub(r"SUBQUERY \d+", "SUBQUERY", line) for line in plan.splitlines() if line not in GIVEN)


async def test_no_statement_of_the_hot_path_reads_a_whole_table(crowded: Path, explained: list[Statement]) -> None:
    """Every table is searched by an index; claims alone read along one, as far as their limit."""
    async with running(f"sqlite:///{crowded}") as store:
        explained.clear()
        await hot_path(store)
    for sql, plan in plans(explained).items():
        scanned = [line for line in plan.splitlines() if line.startswith("SCAN ") and line not in GIVEN]
        few = {"SCAN mutes"}  # operators make them by hand
        assert set(scanned) <= {"SCAN watches USING INDEX watches_open", "SCAN claimable"} | few, sql


async def test_plans_do_not_change_with_what_waits(crowded: Path, url: str, explained: list[Statement]) -> None:
    """A claim costs the same behind two hundred thousand deliveries as behind none."""
    async with running(f"sqlite:///{crowded}") as store:
        assert (await store.lists.summary())["pending"]["app"]["count"] >= PENDING - LANES
        explained.clear()
        await hot_path(store)
        full = plans(explained)
    async with running(url) as store:
        explained.clear()
        await hot_path(store)
        empty = plans(explained)
    assert len(full.keys() & empty.keys()) > 15
    assert {sql: plan for sql, plan in full.items() if sql in empty and empty[sql] != plan} == {}


async def test_each_statement_uses_the_index_that_was_made_for_it(crowded: Path, explained: list[Statement]) -> None:
    """And none sorts what it claims: the index has the order."""
    async with running(f"sqlite:///{crowded}") as store:
        explained.clear()
        await hot_path(store)
        found = list(explained)
    by_key = "SEARCH deliveries USING INTEGER PRIMARY KEY (rowid=?)"
    lane = "USING INDEX deliveries_lane (endpoint=? AND lane=?"
    due = "SEARCH deliveries USING INDEX deliveries_due (endpoint=?"
    assert of(found, "WITH claimable", having="UPDATE deliveries") == {f"{by_key}\nLIST SUBQUERY\n{due} AND due<?)"}
    assert of(found, "SELECT deliveries.id, deliveries.due") == {
        f"{due} AND due>?)\nSEARCH attempts USING PRIMARY KEY (delivery=? AND at=?) LEFT-JOIN\n"
        "CORRELATED SCALAR SUBQUERY\nSEARCH latest USING PRIMARY KEY (delivery=?)"
    }
    assert of(found, "UPDATE deliveries SET due = :due") == {by_key}
    assert of(found, "SELECT due FROM deliveries") == {f"{due})"}
    assert of(found, "UPDATE deliveries SET status = 'superseded'") == {
        f"SEARCH deliveries {lane})",
        f"SEARCH deliveries {lane})\nCORRELATED SCALAR SUBQUERY\nSEARCH newer {lane} AND sequence>?)",
    }
    ahead = f"CORRELATED SCALAR SUBQUERY\nSEARCH ahead {lane})"
    assert of(found, "INSERT INTO deliveries") == {f"CO-ROUTINE given\n{ahead}\n{ahead}"}
    assert of(found, "UPDATE deliveries SET status = 'ready'") == {
        f"MATERIALIZE given\n{by_key}\nCORRELATED SCALAR SUBQUERY\nSEARCH first {lane})"
    }
    assert of(found, "UPDATE deliveries SET status = given.status") == {f"MATERIALIZE given\n{by_key}"}
    assert of(found, "WITH claimable", having="UPDATE watches") == {
        "SEARCH watches USING INTEGER PRIMARY KEY (rowid=?)\nLIST SUBQUERY\nSCAN watches USING INDEX watches_open"
    }
    assert of(found, "UPDATE watches SET state = given.state") == {
        "MATERIALIZE given\nSEARCH watches USING INTEGER PRIMARY KEY (rowid=?)"
    }
    assert all("(source=? AND id=?)" in plan for plan in of(found, "SELECT * FROM watches", having="source = :source"))
    assert all("USING COVERING INDEX events_at" in plan for plan in of(found, "SELECT at, pk"))


async def test_counting_and_retrying_read_what_is_open_or_dead_and_not_what_is_done(
    crowded: Path, explained: list[Statement]
) -> None:
    """Deliveries of weeks are most of the table: neither a look at the daemon nor a start reads them."""
    async with running(f"sqlite:///{crowded}") as store:
        await store.lists.summary()
        await store.outbox.retry(DeliveryFilter(endpoint="nobody", until=0), now=T0)
        await store.outbox.retry(DeliveryFilter(until=0), now=T0)
    flat = [(" ".join(sql.split()), plan) for sql, plan in explained]
    scans = {line for sql, plan in flat for line in plan.splitlines() if re.match("SCAN deliveries", line)}
    assert {line.replace("COVERING ", "") for line in scans} == {
        "SCAN deliveries USING INDEX deliveries_lane",
        "SCAN deliveries USING INDEX deliveries_dead",
    }


async def test_destinations_of_callbacks_are_found_by_their_own_index(
    crowded: Path, explained: list[Statement]
) -> None:
    """However many deliveries wait for them, to take, wake or release one reads its row alone."""
    name = Callback(url="https://example.com/t0ken").name
    async with running(f"sqlite:///{crowded}") as store:
        explained.clear()
        task = f"called {next(_fresh)}"
        await store.watches.apply(
            [wanted(task, callback=Callback(url="https://example.com/t0ken"))], origin="api", now=T0
        )
        [watch] = [each for each in await store.watches.claim(100_000) if each.id == task]
        await move(store, watch, "queueing", to=(Address(endpoint=name, take=False),))
        await store.endpoints.take_callbacks(10, now=LATER)
        [delivery] = (await store.outbox.claim({name: 10}, now=LATER)).deliveries
        await store.outbox.settle(settled(delivery, Later(due=LATER, attempt=1)))
        await store.endpoints.leave_callbacks({name: CallbackHealth()}, now=LATER)
        await store.prune(T0)
        found = list(explained)
    key = "sqlite_autoindex_callbacks_1"
    assert of(found, "UPDATE callbacks SET due = CASE") == {f"SEARCH callbacks USING INDEX {key} (name=?)"}
    [taken] = of(found, "WITH found AS", having="UPDATE callbacks")
    assert [line.replace("COVERING ", "") for line in taken.splitlines() if line.startswith(("SCAN c", "SEARCH"))] == [
        f"SEARCH callbacks USING INDEX {key} (name=?)",
        "SEARCH callbacks USING INDEX callbacks_due (due<?)",
    ]
    assert of(found, "SELECT due FROM callbacks") == {"SEARCH callbacks USING COVERING INDEX callbacks_due (due>?)"}
    [pruned] = of(found, "SELECT name, EXISTS")
    assert [line.replace("COVERING ", "") for line in pruned.splitlines() if line.startswith(("SCAN", "SEARCH"))] == [
        f"SEARCH callbacks USING INDEX {key} (name>?)",
        "SEARCH watches USING INDEX watches_callback (callback=?)",
        "SEARCH deliveries USING INDEX deliveries_lane (endpoint=?)",
        "SEARCH deliveries USING INDEX deliveries_dead (endpoint=?)",
    ]
