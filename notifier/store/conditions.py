"""Conditions and values that statements share.

Those on `status` are literals, not parameters: a partial index is used only where the query repeats its condition.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Text, and_, false, literal_column

from notifier.store.schema import OPEN, deliveries, watches

READY = literal_column("'ready'", Text)
WAITING = literal_column("'waiting'", Text)
SUPERSEDED = literal_column("'superseded'", Text)
DEAD = literal_column("'dead'", Text)


def is_open(table: FromClause) -> ColumnElement[bool]:
    """Return the condition of the index `deliveries_lane`."""
    return table.c.status.in_([literal_column(f"'{status}'", Text) for status in OPEN])


def in_lane(table: FromClause, endpoint: ColumnElement[str], lane: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition of being open in a lane."""
    return and_(table.c.endpoint == endpoint, table.c.lane == lane, is_open(table))


def superseded(now: ColumnElement[int]) -> dict[str, ColumnElement[Any]]:
    """Return the values of a delivery whose place a newer one took."""
    return {"status": SUPERSEDED, "settled_at": now, "reason": SUPERSEDED}


IS_DEAD = deliveries.c.status == DEAD  # the condition of the index `deliveries_dead`
IS_FOLLOWED = and_(watches.c.ended == false(), watches.c.removed_at.is_(None))
