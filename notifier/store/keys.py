"""The keys of events. They are also cursors for reading in order, so no key may appear behind a reader.

SQLite has one writer, so a counter is enough. On PostgreSQL transactions end in another order than they begin. There a
key is the number of the transaction and the place in it, and a reader stops at the oldest transaction under way.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, bindparam, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from notifier.store.schema import counters, events

SHIFT = 20  # bits for the place in a transaction: a million events, far more than in a group

_EPOCH = select(counters.c.value).where(counters.c.name == "event").scalar_subquery()


class EventKey(FunctionElement[int]):
    """The key of an event, from its number or its place in the transaction: a column, or the name of a parameter."""

    type = BigInteger()
    inherit_cache = True

    def __init__(self, place: str | ColumnElement[int]) -> None:
        super().__init__(bindparam(place, type_=BigInteger) if isinstance(place, str) else place)


@compiles(EventKey)
def _plain(element: EventKey, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@compiles(EventKey, "postgresql")
def _by_transaction(element: EventKey, compiler: Any, **options: Any) -> str:
    place = compiler.process(element.clauses, **options)
    return f"((pg_current_xact_id()::text::bigint + {_epoch(compiler)}) << {SHIFT}) + {place}"


def settled(connection: Connection) -> list[ColumnElement[bool]]:
    """Return the conditions for an event before which no other can appear any more."""
    if connection.dialect.name != "postgresql":
        return []
    oldest = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", BigInteger)
    return [events.c.pk < (oldest + _EPOCH).op("<<")(literal_column(str(SHIFT)))]


def _epoch(compiler: Any) -> str:
    return str(compiler.process(bindparam("epoch", type_=BigInteger)))
