"""Forgetting what ended long ago, a bounded number of rows at a time."""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, exists, or_, select

from notifier.core.model import Micros
from notifier.store.schema import attempts, deliveries, events, watches
from notifier.store.statements import is_open

CHUNK = 500  # events or watches in one transaction: others wait for it


def prune(connection: Connection, before: Micros) -> int:
    """Forget up to CHUNK events that were settled before, with their deliveries, and as many watches.

    A watch that a file still lists is kept: it would be followed anew.
    """
    return _events(connection, before) + _watches(connection, before)


def _events(connection: Connection, before: Micros) -> int:
    lively = exists().where(
        deliveries.c.event == events.c.pk, or_(is_open(deliveries), deliveries.c.settled_at >= before)
    )
    pks = connection.execute(select(events.c.pk).where(events.c.at < before, ~lively).limit(CHUNK)).scalars().all()
    if not pks:
        return 0
    ids = connection.execute(select(deliveries.c.id).where(deliveries.c.event.in_(pks))).scalars().all()
    connection.execute(delete(attempts).where(attempts.c.delivery.in_(ids)))
    connection.execute(delete(deliveries).where(deliveries.c.id.in_(ids)))
    connection.execute(delete(events).where(events.c.pk.in_(pks)))
    return len(pks)


def _watches(connection: Connection, before: Micros) -> int:
    over = or_(
        watches.c.removed_at < before,
        and_(watches.c.ended, watches.c.origin != "file", watches.c.updated_at < before),
    )
    told = exists().where(events.c.watch == watches.c.pk)
    pks = (
        connection.execute(select(watches.c.pk).where(watches.c.updated_at < before, over, ~told).limit(CHUNK))
        .scalars()
        .all()
    )
    if pks:
        connection.execute(delete(watches).where(watches.c.pk.in_(pks)))
    return len(pks)
