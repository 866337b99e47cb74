"""A store full of pending deliveries, written by the database itself, as if an endpoint had been away for long."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from notifier.core import payload
from notifier.core.model import Event, EventType, Observation, Phase, Watch
from notifier.store import migrate
from notifier.store.keys import SHIFT

ENDPOINT = "app"
LANE = 10  # deliveries each: the first ready, the others waiting for it
AT_ONCE = 500_000  # rows a transaction; a key of PostgreSQL's events has room for a million
AGE = 3600 * 1_000_000  # microseconds: how long ago the first of them was due

_SERIES = {
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) ",
    "postgresql": "WITH s(n) AS (SELECT generate_series({first}::bigint, {last}::bigint)) ",
}
_KEY = {
    "sqlite": "n",
    "postgresql": "((pg_current_xact_id()::text::bigint + (SELECT value FROM counters WHERE name = 'event')) "
    f"<< {SHIFT}) + n - {{first}}",
}
_ID = {"sqlite": "printf('msg_%032x', n)", "postgresql": "'msg_' || lpad(to_hex(n), 32, '0')"}
_BYTES = {"sqlite": "CAST({text} AS BLOB)", "postgresql": "convert_to({text}, 'UTF8')"}

# Lanes lie among one another, as changes of many tasks do that go on at the same time: the next delivery of a lane is
# far from the one before it.
_WATCHES = """
INSERT INTO watches (pk, source, id, origin, labels, metadata, state, phase, sequence, stalled, ended,
                     created_at, changed_at, updated_at)
{series} SELECT n, 'vidu', 'pending-' || n, 'api', '{{}}', 'null', 'success', 'succeeded', {lane}, false, true,
                {at}, {at}, {at} FROM s
"""
_EVENTS = """
INSERT INTO events (pk, id, watch, sequence, type, at, body)
{series} SELECT {key}, {id}, {lane_of}, {sequence}, '{type}', {at} + n, {body} FROM s
"""
_DELIVERIES = """
INSERT INTO deliveries (id, event, lane, endpoint, sequence, status, attempt, due, created_at, manual)
{series} SELECT n, {key}, {lane_of}, '{endpoint}', {sequence}, CASE {sequence} WHEN 1 THEN 'ready' ELSE 'waiting' END,
                0, {at} + n, {at} + n, false FROM s
"""
_COUNTERS = "UPDATE counters SET value = {value} WHERE name = '{name}'"


@dataclass(slots=True, kw_only=True)
class Seeded:
    """A store that can be filled further."""

    url: str
    pending: int = 0

    @property
    def kind(self) -> str:
        """Return the kind of database."""
        return "sqlite" if self.url.startswith("sqlite:") else "postgresql"

    @property
    def path(self) -> Path:
        """Return SQLite's file."""
        return Path(self.url.removeprefix("sqlite:///"))

    def fill(self, pending: int) -> float:
        """Add lanes until about so many are pending; return the seconds that took."""
        began = time.monotonic()
        with self._connection() as execute:
            first_lane = self.pending // LANE + 1
            lanes = (pending - self.pending) // LANE
            start, total = self.pending + 1, lanes * LANE
            at = time.time_ns() // 1000 - AGE
            given: dict[str, Any] = {"at": at, "lane": LANE, "endpoint": ENDPOINT, "type": EventType.STATE_CHANGED}
            given["lane_of"] = f"({first_lane} + (n - {start}) % {lanes})"
            given["sequence"] = f"((n - {start}) / {lanes} + 1)"
            execute(_WATCHES.format(series=self._series(first_lane, first_lane + lanes - 1), **given))
            for first in range(start, start + total, AT_ONCE):
                self._add(execute, first, min(first + AT_ONCE, start + total) - 1, given)
        self.pending += total
        return time.monotonic() - began

    def _add(self, execute: Callable[[str], object], first: int, last: int, given: Mapping[str, Any]) -> None:
        """Add deliveries and their events in one transaction; ids of the program go on behind them."""
        series, key = self._series(first, last), _KEY[self.kind].format(first=first)
        execute("BEGIN")
        body = _BYTES[self.kind].format(text=_body(given["lane_of"], given["sequence"]))
        execute(_EVENTS.format(series=series, key=key, id=_ID[self.kind], body=body, **given))
        execute(_DELIVERIES.format(series=series, key=key, **given))
        after = {"watch": last // LANE + 1, "delivery": last + 1}
        if self.kind == "sqlite":  # PostgreSQL numbers events by transaction
            after["event"] = last + 1
        for name, value in after.items():
            execute(_COUNTERS.format(name=name, value=value))
        execute("COMMIT")

    def free(self, ids: Sequence[int]) -> None:
        """Release these deliveries, whichever node has them."""
        with self._connection() as execute:
            execute(f"UPDATE deliveries SET owner = NULL WHERE id IN ({', '.join(map(str, ids))})")

    def _series(self, first: int, last: int) -> str:
        return _SERIES[self.kind].format(first=first, last=last)

    @contextmanager
    def _connection(self) -> Iterator[Callable[[str], object]]:
        if self.kind == "postgresql":
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute("SET synchronous_commit = off")
                yield connection.execute
            return
        raw = sqlite3.connect(self.path, isolation_level=None)
        try:
            raw.execute("PRAGMA synchronous = OFF")
            yield raw.execute
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            raw.close()


def seed(url: str, pending: int) -> Seeded:
    """Fill a database that may have no tables yet."""
    migrate(url)
    seeded = Seeded(url=url)
    seeded.fill(pending)
    return seeded


def _body(lane: str, sequence: str) -> str:
    """Return SQL for a callback's text: the documented payload, with the lane's and sequence's numbers put in."""
    watch = Watch(
        pk=1, source="vidu", id="@watch@", created_at=0, state="processing", phase=Phase.RUNNING, sequence=990_099
    )
    seen = Observation(
        state="processing", phase=Phase.RUNNING, progress=40.0, task={"id": "@watch@", "state": "processing"}
    )
    event = Event(
        type=EventType.STATE_CHANGED, at=AGE, watch=watch, previous_state="queueing", previous_phase=Phase.QUEUED,
        observation=seen,
    )  # fmt: skip
    text = payload.body(event).decode().replace("'", "''")
    named = f"replace('{text}', '@watch@', 'pending-' || {lane})"
    return f"replace({named}, '990099', CAST({sequence} AS TEXT))"
