"""On PostgreSQL frequent statements find their rows by an index, whatever the planner knows of the tables.

Plans are kept by a connection, and made when statistics are old or missing: each is looked at as it would be made for
an empty database, for a full one that nobody has counted yet, and for one that was counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import databases
import psycopg
import pytest

from notifier.store import callbacks, hot_postgres, postgres, statements, watches
from notifier.store.connection import Connection, worded
from notifier.store.pipeline import Sendable

LANES = 1_000
FULL = f"""
INSERT INTO watches (pk, source, id, origin, labels, metadata, state, phase, sequence, stalled, ended, created_at,
    changed_at, updated_at, owner)
SELECT i, 'vidu', i::text, 'api', '{{}}', 'null', 'processing', 'running', 20, false, false, i, i, i, i % 3
FROM generate_series(0, {LANES} - 1) i;
INSERT INTO events (pk, id, watch, sequence, type, at, body)
SELECT i, 'msg_' || i, i % {LANES}, i / {LANES} + 1, 'task.state_changed', i, '{{}}' FROM generate_series(0, 19999) i;
INSERT INTO deliveries (id, event, lane, endpoint, sequence, status, attempt, due, created_at, manual)
SELECT pk, pk, watch, 'app', sequence, CASE sequence WHEN 1 THEN 'ready' ELSE 'waiting' END, 0, at, at, false
FROM events;
INSERT INTO deliveries (id, event, lane, endpoint, sequence, status, attempt, due, created_at, settled_at, manual)
SELECT id + 1000000, event, lane, 'other', sequence, CASE id % 10 WHEN 0 THEN 'dead' ELSE 'delivered' END, 1, due, due,
    due, false
FROM deliveries;
"""

KEYS = ("pk", "number", "endpoint", "lane", "due", "id")
STATEMENTS: dict[str, tuple[str, set[str]]] = {  # with the conditions by which it may read indexes
    "step": (hot_postgres.STEP_WATCH, {"watches_pkey (pk)"}),
    "end": (hot_postgres.END_WATCH, {"watches_pkey (pk)"}),
    "insert": (hot_postgres.INSERT_DELIVERIES, {"deliveries_lane (endpoint, lane)"}),
    "supersede": (hot_postgres.SUPERSEDE, {"deliveries_lane (endpoint, lane)", "deliveries_pkey (id)"}),
    "overtake": (hot_postgres.OVERTAKE, {"deliveries_lane (endpoint, lane)", "deliveries_pkey (id)"}),
    "settle": (hot_postgres.SETTLE, {"deliveries_pkey (id)"}),
    "promote": (
        hot_postgres.PROMOTE,
        {"deliveries_lane (endpoint, lane)", "deliveries_pkey (id)", "events_pkey (pk)"},
    ),
    "which wait": (hot_postgres.WHICH_WAIT, {"deliveries_pkey (id)"}),
    "wake": (hot_postgres.WAKE, {"callbacks_pkey (name)"}),
    "lock": (hot_postgres.LOCK_WATCHES, {"watches_pkey (pk)"}),
    "fence": (hot_postgres.FENCE, {"nodes_pkey (number)"}),
    "claim deliveries": (statements.CLAIM_DELIVERIES, {"deliveries_due (endpoint, due)", "deliveries_pkey (id)"}),
    "next due": (statements.NEXT_DUE, {"deliveries_due (endpoint)"}),
    "claim watches": (watches.CLAIM, {"watches_open ()", "watches_pkey (pk)"}),
}


@pytest.fixture(scope="module", params=["empty", "full, not counted", "full, counted"])
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """Open a database of that kind as the store does for writing."""
    with databases.new_database() as url:
        if request.param != "empty":
            with psycopg.connect(url, autocommit=True) as filling:
                filling.execute("ALTER TABLE watches SET (autovacuum_enabled = off)")
                filling.execute("ALTER TABLE deliveries SET (autovacuum_enabled = off)")
                filling.execute(FULL)
                if request.param == "full, counted":
                    filling.execute("ANALYZE")
        with postgres.PostgresEngine(url, writable=True).connect() as connection:
            yield connection


def plan(connection: Connection, statement: str) -> dict[str, Any]:
    """Return the plan that serves all values of the parameters."""
    if statement in vars(hot_postgres).values():
        sent = Sendable("asked", statement)
        return _plan(connection, sent.text.decode(), len(sent.order))
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    text = re.sub(r"%\((\w+)\)s", number, worded(statement, {}, shared=True)[0]).replace("%%", "%")
    return _plan(connection, text, len(names))


def _plan(connection: Connection, text: str, count: int) -> dict[str, Any]:
    raw = connection.raw
    raw.execute(f"PREPARE asked AS {text}")
    try:
        nulls = f"({', '.join(['NULL'] * count)})" if count else ""
        [(found,)] = raw.execute(f"EXPLAIN (FORMAT JSON) EXECUTE asked{nulls}").fetchall()
    finally:
        raw.execute("DEALLOCATE asked")
    return dict(found[0]["Plan"])


def reads(node: dict[str, Any]) -> Iterator[str]:
    """Name how each table is read: the index, with the columns by which its part is found."""
    if "Index Name" in node:
        condition = node.get("Index Cond", "")
        columns = [
            name
            for name in ("pk", "number", "endpoint", "lane", "due", "id", "name")
            if re.search(rf"\({name} [=<]", condition)
        ]
        yield f"{node['Index Name']} ({', '.join(columns)})"
    elif "Relation Name" in node and node["Node Type"] != "ModifyTable":
        yield f"{node['Node Type']} of {node['Relation Name']}"
    for below in node.get("Plans", ()):
        yield from reads(below)


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_finds_its_rows_by_the_index_made_for_it(connection: Connection, name: str) -> None:
    """And reads of it only the part that it asks for."""
    statement, allowed = STATEMENTS[name]
    found = set(reads(plan(connection, statement)))
    assert found
    assert found <= allowed


def test_what_is_claimed_is_not_sorted(connection: Connection) -> None:
    """The index has the order: a claim ends as soon as it has enough."""
    for statement in (statements.CLAIM_DELIVERIES, watches.CLAIM):
        assert "Sort" not in str(plan(connection, statement))


@pytest.mark.parametrize("statement", [statements.NEXT_DUE, callbacks._NEXT])
def test_the_next_due_is_the_first_of_its_index(connection: Connection, statement: str) -> None:
    """One row is read, however many are ready."""
    found = plan(connection, statement)
    assert found["Node Type"] == "Limit"
    assert [below["Node Type"] for below in found["Plans"]] in (["Index Scan"], ["Index Only Scan"])


def test_every_statement_of_the_hot_path_was_looked_at() -> None:
    """A new one has to be added above; those that only insert read nothing."""
    looked_at = {statement for statement, _ in STATEMENTS.values() if isinstance(statement, str)}
    texts = {name for name, text in vars(hot_postgres).items() if isinstance(text, str) and name.isupper()}
    assert {name for name in texts if getattr(hot_postgres, name) not in looked_at} == {
        "INSERT_EVENTS",
        "INSERT_ATTEMPTS",
    }
