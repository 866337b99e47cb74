"""Statements of the hot path, compiled once and handed to the driver as they are.

SQLAlchemy's own execution costs more than SQLite's work on a single row: each of these runs several hundred times a
second, for a handful of rows. The SQL is still SQLAlchemy Core's, and so are the dialects.

Inside `together`, a driver that can (psycopg) sends statements without waiting for each other's results: what they
return is there to be read after the call of `sync`, all for one round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.sql import ClauseElement

Row = Mapping[str, object]
Bind = Callable[[Row], Any]


class Result:
    """What a statement came to; inside `together` to be read after `sync`."""

    __slots__ = ("_cursor", "_rows", "pending")

    def __init__(self, cursor: Any, *, pending: bool, reads: bool = False) -> None:
        self.pending = pending  # it was sent together with others, and may not be answered yet
        self._cursor = cursor
        # SQLite reads as it goes, and would see what later statements of the transaction change.
        self._rows: list[Any] | None = cursor.fetchall() if reads and not pending else None

    @property
    def count(self) -> int:
        """Return how many rows of the table were affected in all."""
        return int(self._cursor.rowcount)

    @property
    def may_have_changed(self) -> bool:
        """Say whether any row was affected, or that is not known yet."""
        return self.pending or self.count > 0

    def rows(self) -> list[Any]:
        """Return the rows of the result."""
        return list(self._cursor.fetchall()) if self._rows is None else self._rows


class Prepared:
    """One statement; its parameters are named as in SQLAlchemy."""

    def __init__(self, statement: ClauseElement, **variants: ClauseElement) -> None:
        """Make ready; `variants` are for dialects that word it differently."""
        self._statement = statement
        self._variants = variants
        self._compiled: dict[str, tuple[str, Bind]] = {}  # by dialect: text, how a row becomes its parameters

    def many(self, connection: Connection, rows: Sequence[Row]) -> Result:
        """Run once for each row."""
        sql, bind = self._on(connection)
        cursor = connection.connection.cursor()
        cursor.executemany(sql, [bind(row) for row in rows])
        return Result(cursor, pending=connection.dialect.name == "postgresql")

    def one(self, connection: Connection, row: Row) -> Result:
        """Run once."""
        sql, bind = self._on(connection)
        cursor = connection.connection.cursor()
        cursor.execute(sql, bind(row))
        return Result(cursor, pending=connection.dialect.name == "postgresql", reads=True)

    def _on(self, connection: Connection) -> tuple[str, Bind]:
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            compiled: Any = self._variants.get(dialect.name, self._statement).compile(dialect=dialect)
            self._compiled[dialect.name] = (str(compiled), _binder(compiled.positiontup))
        return self._compiled[dialect.name]


@contextmanager
def together(connection: Connection) -> Iterator[Callable[[], None]]:
    """Send the statements of the block together; hands in `sync`, which waits for their results."""
    raw: Any = connection.connection.dbapi_connection
    if connection.dialect.name != "postgresql":
        yield _nothing
        return
    with raw.pipeline() as pipeline:
        yield pipeline.sync


def _nothing() -> None:
    """Wait for nothing: each statement has run."""


def _binder(order: Sequence[str] | None) -> Bind:
    """Return what makes a driver's parameters of a row: by position, in `order`, or by name."""
    match order:
        case None:
            return _as_it_is
        case [only]:
            return lambda row: (row[only],)
        case _:
            return itemgetter(*order)


def _as_it_is(row: Row) -> Row:
    return row
