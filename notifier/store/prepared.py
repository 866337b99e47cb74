"""Statements of the hot path, compiled once and handed to the driver as they are.

SQLAlchemy's own execution costs more than SQLite's work on a single row: each of these runs several hundred times a
second, for a handful of rows. The SQL is still SQLAlchemy Core's, and so are the dialects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.sql import ClauseElement

Row = Mapping[str, object]
Bind = Callable[[Row], Any]


class Prepared:
    """One statement; its parameters are named as in SQLAlchemy."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, Bind]] = {}  # by dialect: text, how a row becomes its parameters

    def many(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Run once for each row; return how many rows of the table were affected in all."""
        sql, bind = self._on(connection)
        cursor = connection.connection.cursor()
        try:
            cursor.executemany(sql, [bind(row) for row in rows])
            return cursor.rowcount
        finally:
            cursor.close()

    def all(self, connection: Connection, row: Row) -> list[Any]:
        """Run once; return the rows of the result."""
        sql, bind = self._on(connection)
        cursor = connection.connection.cursor()
        try:
            cursor.execute(sql, bind(row))
            return list(cursor.fetchall())
        finally:
            cursor.close()

    def _on(self, connection: Connection) -> tuple[str, Bind]:
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            compiled: Any = self._statement.compile(dialect=dialect)
            self._compiled[dialect.name] = (str(compiled), _binder(compiled.positiontup))
        return self._compiled[dialect.name]


def _binder(order: Sequence[str] | None) -> Bind:
    """Return what makes a driver's parameters of a row: by position, in `order`, or by name."""
    match order:
        case None:
            return dict
        case [only]:
            return lambda row: (row[only],)
        case _:
            return itemgetter(*order)
