"""Statements of the hot path, compiled once and handed to the driver as they are.

SQLAlchemy's own execution costs more than SQLite's work on a single row: each of these runs several hundred times a
second, for a handful of rows. The SQL is still SQLAlchemy Core's, and so are the dialects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.sql import ClauseElement

Row = Mapping[str, object]


class Prepared:
    """One statement; its parameters are named as in SQLAlchemy."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._sql: dict[str, tuple[str, Sequence[str] | None]] = {}  # by dialect: text, order of positional parameters

    def many(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Run once for each row; return how many rows of the table were affected in all."""
        sql, order = self._compiled(connection)
        cursor = _cursor(connection)
        try:
            cursor.executemany(sql, [_bind(row, order) for row in rows])
            return cursor.rowcount
        finally:
            cursor.close()

    def all(self, connection: Connection, row: Row) -> list[Any]:
        """Run once; return the rows of the result."""
        sql, order = self._compiled(connection)
        cursor = _cursor(connection)
        try:
            cursor.execute(sql, _bind(row, order))
            return list(cursor.fetchall())
        finally:
            cursor.close()

    def _compiled(self, connection: Connection) -> tuple[str, Sequence[str] | None]:
        dialect = connection.dialect
        found = self._sql.get(dialect.name)
        if found is None:
            compiled: Any = self._statement.compile(dialect=dialect)
            found = self._sql[dialect.name] = (str(compiled), compiled.positiontup)
        return found


def _bind(row: Row, order: Sequence[str] | None) -> Any:
    return row if order is None else [row[name] for name in order]


def _cursor(connection: Connection) -> DBAPICursor:
    return connection.connection.cursor()
