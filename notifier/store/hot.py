"""Runs the statements of the hot path: one wording a dialect, which takes all rows of a group.

Each of these runs hundreds of times a second, and a call of the driver costs more than a database's work on a row. The
wordings are in `hot_sqlite.py` and `hot_postgres.py`, by the same names. Parameters have the names of columns, with `_`
in front where they are conditions.

    with together(connection) as batch:
        changed = batch.run(SETTLE, rows)
    changed.count  # known once the block has ended
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from operator import itemgetter
from typing import Any

from notifier.store import hot_postgres, hot_sqlite
from notifier.store.connection import Connection
from notifier.store.pipeline import Pipeline, Sendable, Sent

ROWS = tuple(1 << power for power in range(6, -1, -1))  # of one call on SQLite: few texts, which stay prepared

Row = Mapping[str, Any]

_VALUES = re.compile(r"(?<=VALUES )(\([^()]*\))")  # the row of parameters
_NAME = re.compile(r"(?<!:):(\w+)")


class Statement:
    """One statement, in both wordings."""

    def __init__(self, name: str) -> None:
        """Take the wordings of that name; a dialect that has none never runs it."""
        self.name = name
        self.sqlite = _SqliteWording(text) if (text := getattr(hot_sqlite, name, None)) else None
        self.postgresql = Sendable(name, text) if (text := getattr(hot_postgres, name, None)) else None


class _SqliteWording:
    """A text whose row of parameters is repeated; or one that runs once for each row, if it has none."""

    def __init__(self, text: str) -> None:
        text = " ".join(text.split())
        parts = _VALUES.split(text)
        self.text = text
        self.several: dict[int, str] | None = None
        if len(parts) == 3:
            before, row, after = parts
            names = _NAME.findall(row)
            self.values = itemgetter(*names)
            one = f"({', '.join('?' * len(names))})"
            self.several = {count: f"{before}{', '.join([one] * count)}{after}" for count in ROWS}


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
        if wording.several is None:
            if len(rows) == 1:
                cursor.execute(wording.text, rows[0])
                return SqliteResult(cursor.rowcount, cursor.fetchall())
            cursor.executemany(wording.text, rows)
            return SqliteResult(cursor.rowcount, [])
        given, done, count = list(map(wording.values, rows)), 0, 0
        for size in ROWS:
            while len(given) - done >= size:
                cursor.execute(wording.several[size], tuple(chain.from_iterable(given[done : done + size])))
                count += cursor.rowcount
                done += size
        return SqliteResult(count, [])


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
