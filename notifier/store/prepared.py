"""Statements of the hot path, compiled once and given to the driver directly.

SQLAlchemy's own execution costs more than SQLite's work on a row, and each of these runs several hundred times a second
for a handful of rows. The SQL is still written with SQLAlchemy Core, and compiled by its dialects.

On PostgreSQL a statement costs more than a row. There it may have a wording that takes all rows at once, as arrays.

Inside `together`, psycopg sends statements without waiting for their results. They can be read after the block, all for
one round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from sqlalchemy import ARRAY, Connection
from sqlalchemy.sql import ClauseElement

from notifier.store.arrays import Packed, packer

IDLE = 0  # libpq's PQTRANS_IDLE: no transaction has begun

Row = Mapping[str, object]
Bind = Callable[[Row], Any]
Pack = Callable[[Sequence[Any]], Packed]


class Result:
    """The result of a statement; inside `together` it can be read after the block."""

    __slots__ = ("_cursor", "_rows", "pending")

    def __init__(self, cursor: Any, *, pending: bool, reads: bool = False) -> None:
        self.pending = pending  # sent together with others, and perhaps not answered yet
        self._cursor = cursor
        # SQLite reads row by row, and would see changes by later statements of the transaction.
        self._rows: list[Any] | None = cursor.fetchall() if reads and not pending else None

    @property
    def count(self) -> int:
        """Return the number of rows that were changed."""
        return int(self._cursor.rowcount)

    def rows(self) -> list[Any]:
        """Return the rows of the result."""
        return list(self._cursor.fetchall()) if self._rows is None else self._rows


class Prepared:
    """One statement; its parameters are named as in SQLAlchemy."""

    def __init__(
        self, statement: ClauseElement, *, at_once: ClauseElement | None = None, **variants: ClauseElement
    ) -> None:
        """Compile later; `variants` are other wordings, by dialect.

        `at_once` is PostgreSQL's wording for many rows. Its parameters are arrays; a scalar parameter is the same in
        all rows, and taken from the first.
        """
        self._statement = statement
        self._variants = variants
        self._at_once = AtOnce(at_once) if at_once is not None else None
        self._compiled: dict[str, tuple[str, Bind]] = {}  # by dialect: text, how a row becomes its parameters

    def many(self, connection: Connection, rows: Sequence[Row]) -> Result:
        """Run once for each row."""
        if self._at_once is not None and connection.dialect.name == "postgresql":
            return self._at_once.run(connection, rows)
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


class AtOnce:
    """A statement of PostgreSQL that takes many rows."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: tuple[str, Sequence[str], Mapping[str, Pack]] | None = None  # text, scalars, arrays

    def run(self, connection: Connection, rows: Sequence[Row]) -> Result:
        """Run for all these rows."""
        if self._compiled is None:
            self._compiled = self._compile(connection)
        sql, scalars, arrays = self._compiled
        given: dict[str, object] = {name: rows[0][name] for name in scalars}
        for name, pack in arrays.items():
            given[name] = pack([row[name] for row in rows])
        cursor = connection.connection.cursor()
        cursor.execute(sql, given)
        return Result(cursor, pending=True)

    def _compile(self, connection: Connection) -> tuple[str, Sequence[str], Mapping[str, Pack]]:
        compiled: Any = self._statement.compile(dialect=connection.dialect)
        types = {name: parameter.type for name, parameter in compiled.binds.items()}
        arrays = {name: packer(kind.item_type) for name, kind in types.items() if isinstance(kind, ARRAY)}
        return str(compiled), [name for name in types if name not in arrays], arrays


@contextmanager
def together(connection: Connection) -> Iterator[None]:
    """Send the statements of the block together, and wait for all results at its end."""
    if connection.dialect.name != "postgresql":
        yield
        return
    raw: Any = connection.connection.dbapi_connection
    # psycopg would wait for the answer to a BEGIN of its own. `postgres.engine` takes this back with each transaction.
    unbegun = raw.pgconn.transaction_status == IDLE
    if unbegun:
        raw.autocommit = True
    try:
        with raw.pipeline():
            if unbegun:
                raw.execute("BEGIN")
            yield
    except Exception as exc:
        # psycopg reports that the statements after the failed one did not run, in place of the failure itself.
        if type(exc).__name__ == "PipelineAborted" and exc.__context__ is not None:
            raise exc.__context__ from None
        raise


def _binder(order: Sequence[str] | None) -> Bind:
    """Return the function that turns a row into the driver's parameters: by position, in `order`, or by name."""
    match order:
        case None:
            return _as_it_is
        case [only]:
            return lambda row: (row[only],)
        case _:
            return itemgetter(*order)


def _as_it_is(row: Row) -> Row:
    return row
