"""Dates of rows that go on, after the clock was set: they are moved with it, so that waits and ages stay as they were.

Dates of what has happened stay as they were written. Each call looks at the next CHUNK rows, in the order of their
keys, and returns the key to continue after; None at the end. A row that was moved cannot be told from one that was not,
so the caller keeps the key until the call has succeeded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, and_, case, exists, or_, select, update

from notifier.core.model import Micros
from notifier.store.schema import IS_FOLLOWED, READY, attempts, callbacks, deliveries, is_open, watches
from notifier.store.values import BEFORE_ALL, ClockShift, Written

CHUNK = 1000  # rows in one transaction: others wait for it


def watches_moved(connection: Connection, *, shift: ClockShift, after: int) -> int | None:
    """Move when open watches were created and changed."""
    values = {name: _moved(watches.c[name], shift) for name in ("created_at", "changed_at")}
    return _next(connection, watches.c.pk, IS_FOLLOWED, after, values)


def deliveries_moved(connection: Connection, *, shift: ClockShift, after: int) -> int | None:
    """Move when open deliveries are due; at the start, also when destinations of callbacks are."""
    if after == BEFORE_ALL:
        _move_callbacks(connection, shift)
    moved = _moved(deliveries.c.due, shift, _is_tried)
    return _next(connection, deliveries.c.id, is_open(deliveries), after, {"due": moved})


def _move_callbacks(connection: Connection, shift: ClockShift) -> None:
    """Move when destinations of callbacks are due, and until when they are held."""
    values = {name: _moved(callbacks.c[name], shift) for name in ("due", "held_until")}
    connection.execute(update(callbacks).where(callbacks.c.due.is_not(None)).values(values))


def watches_begun(connection: Connection, *, now: Micros) -> None:
    """Let watches that were created in the future begin now."""
    future = and_(IS_FOLLOWED, watches.c.created_at > now)
    changed = case((watches.c.changed_at > now, now), else_=watches.c.changed_at)
    connection.execute(update(watches).where(future).values(created_at=now, changed_at=changed))


def deliveries_due(connection: Connection, *, latest: Micros, now: Micros) -> int:
    """Make deliveries due now that are due after `latest`; return their number."""
    late = and_(deliveries.c.status == READY, deliveries.c.owner.is_(None), deliveries.c.due > latest)
    count = connection.execute(update(deliveries).where(late).values(due=now)).rowcount
    connection.execute(update(callbacks).where(callbacks.c.due > latest).values(due=now))
    connection.execute(update(callbacks).where(callbacks.c.held_until > latest).values(held_until=None))
    return count


def _next(
    connection: Connection, key: Column[int], condition: ColumnElement[bool], after: int, values: dict[str, Any]
) -> int | None:
    keys = connection.execute(select(key).where(key > after, condition).order_by(key).limit(CHUNK)).scalars().all()
    if keys:
        connection.execute(update(key.table).where(key.between(keys[0], keys[-1]), condition).values(values))
    return keys[-1] if len(keys) == CHUNK else None


def _moved(
    date: Column[Any], shift: ClockShift, also: Callable[[Written], ColumnElement[bool]] | None = None
) -> ColumnElement[Any]:
    """Return a date moved by as much as the clock was set since it wrote it.

    It wrote it between the settings between which it showed it, or where `also` says so.
    """

    def between(written: Written) -> ColumnElement[bool]:
        shown = date.between(written.first, written.last)
        return shown if also is None else or_(shown, also(written))

    return case(*((between(written), date + written.by) for written in shift.written), else_=date + shift.by)


def _is_tried(written: Written) -> ColumnElement[bool]:
    """Return the condition that a delivery was attempted then: its next date may be hours later, by the schedule."""
    then = attempts.c.at.between(written.first, written.last)
    return exists().where(attempts.c.delivery == deliveries.c.id, then).correlate(deliveries)
