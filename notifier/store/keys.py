"""The keys of events. They are also cursors for reading in order, so no key may appear behind a reader.

SQLite has one writer, so a counter is enough. On PostgreSQL transactions end in another order than they begin. There a
key is the number of the transaction and the place in it, and a reader stops at the oldest transaction under way.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ColumnElement, Connection, literal_column, select

from notifier.store.schema import counters, events

SHIFT = 20  # bits for the place in a transaction: a million events, far more than in a group

_EPOCH = select(counters.c.value).where(counters.c.name == "event").scalar_subquery()


def settled(connection: Connection) -> list[ColumnElement[bool]]:
    """Return the conditions for an event before which no other can appear any more."""
    if connection.dialect.name != "postgresql":
        return []
    oldest = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", BigInteger)
    return [events.c.pk < (oldest + _EPOCH).op("<<")(literal_column(str(SHIFT)))]
