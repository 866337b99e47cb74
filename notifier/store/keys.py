"""The keys of events, which are also the cursors of whoever reads them in order: none may appear behind a reader.

On SQLite there is one writer, so that a counter does. On PostgreSQL transactions end in another order than they began,
whatever counter they took: there a key is the number of the transaction, then the place in it, and a reader stops at
the oldest transaction that is still under way.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, bindparam, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from notifier.store.schema import counters, events

SHIFT = 20  # bits for the place in a transaction: a million events, far more than a group has

_EPOCH = select(counters.c.value).where(counters.c.name == "event").scalar_subquery()


class EventKey(FunctionElement[int]):
    """The key of the event whose number, or place in the transaction, is that column, or parameter of that name."""

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
    """Return the condition under which no event can appear any more before the one."""
    if connection.dialect.name != "postgresql":
        return []
    oldest = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", BigInteger)
    return [events.c.pk < (oldest + _EPOCH).op("<<")(literal_column(str(SHIFT)))]


def _epoch(compiler: Any) -> str:
    return str(compiler.process(bindparam("epoch", type_=BigInteger)))
