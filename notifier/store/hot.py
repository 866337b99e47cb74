"""Runs the statements of the hot path: one wording a dialect, which takes all rows of a group.

Each of these runs hundreds of times a second, and a call of the driver costs more than a database's work on a row. The
wordings are in `hot_sqlite.py` and `hot_postgres.py`, by the same names. Parameters have the names of columns, with `_`
in front where they are conditions.

    with together(connection) as batch:
        changed = batch.run(SETTLE, rows)
    changed.count  # known once the block has ended
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from notifier.store import hot_postgres, hot_sqlite
from notifier.store.connection import Connection
from notifier.store.pipeline import Pipeline, Sendable, Sent
from notifier.store.several import Row, Several


class Statement:
    """One statement, in both wordings."""

    def __init__(self, name: str) -> None:
        """Take the wordings of that name; a dialect that has none never runs it."""
        self.name = name
        self.sqlite = Several(text) if (text := getattr(hot_sqlite, name, None)) else None
        self.postgresql = Sendable(name, text) if (text := getattr(hot_postgres, name, None)) else None


class SqliteResult:
    """The result of a statement that has run."""

    __slots__ = ("_found", "count")

    def __init__(self, count: int, found: list[Any]) -> None:
        self.count = count  # of the rows that were changed
        self._found = found

    def rows(self) -> list[Any]:
        """Return the rows that it found, as tuples."""
        return self._found


class SqliteBatch:
    """Runs the statements of one block, each at once."""

    follows = True  # the database answers a statement before the next is sent

    def __init__(self, raw: Any) -> None:
        self._cursor = raw.cursor()

    def run(self, statement: Statement, rows: Sequence[Row]) -> SqliteResult:
        """Run a statement for these rows, at least one."""
        wording, cursor = statement.sqlite, self._cursor
        assert wording is not None, statement.name
        if len(rows) == 1 and not wording.takes_all:
            cursor.execute(wording.text, rows[0])
            return SqliteResult(cursor.rowcount, cursor.fetchall())
        return SqliteResult(wording.run(cursor, rows), [])


class PostgresBatch:
    """Sends the statements of one block, each with its rows as arrays; they are answered at its end."""

    follows = False  # as above

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def run(self, statement: Statement, rows: Sequence[Row]) -> Sent:
        """Send a statement for these rows, at least one; the result can be read after the block."""
        wording = statement.postgresql
        assert wording is not None, statement.name
        return self._pipeline.send(wording, rows)


Result = SqliteResult | Sent
Batch = SqliteBatch | PostgresBatch


@contextmanager
def together(connection: Connection) -> Iterator[Batch]:
    """Run the statements of the block; on PostgreSQL they are sent together, and wait for one answer at its end."""
    if not connection.shared:
        yield SqliteBatch(connection.raw)
        return
    with Pipeline(connection.raw) as pipeline:
        yield PostgresBatch(pipeline)


FENCE = Statement("FENCE")
LOCK_WATCHES = Statement("LOCK_WATCHES")
STEP_WATCH = Statement("STEP_WATCH")
END_WATCH = Statement("END_WATCH")
INSERT_EVENTS = Statement("INSERT_EVENTS")
INSERT_DELIVERIES = Statement("INSERT_DELIVERIES")
WHICH_WAIT = Statement("WHICH_WAIT")
SUPERSEDE = Statement("SUPERSEDE")
SETTLE = Statement("SETTLE")
INSERT_ATTEMPTS = Statement("INSERT_ATTEMPTS")
OVERTAKE = Statement("OVERTAKE")
PROMOTE = Statement("PROMOTE")
PROMOTED = Statement("PROMOTED")
WAKE = Statement("WAKE")
