"""Forgetting rows that ended long ago, a bounded number at a time.

Each transaction looks at the next CHUNK old rows, in the order of their age, and continues where the one before ended.
Rows that have to stay, which may be most, are so looked at once, and not again for every chunk.
"""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection, and_, delete, exists, or_, select, tuple_

from notifier.core.model import Micros
from notifier.store import callbacks, messages, mutes
from notifier.store.schema import attempts, deliveries, events, watches
from notifier.store.statements import is_open
from notifier.store.writer import Writer

CHUNK = 500  # events or watches in one transaction: others wait for it

Place = tuple[Micros, int]  # the time and key of the last row
START: Place = (-(2**63), 0)


async def prune(writer: Writer, before: Micros) -> int:
    """Forget events, watches and destinations of callbacks that ended before; return the number of rows.

    In transactions of bounded size. Raises StoreUnavailable.
    """
    total = 0
    for forget in (_forget_events, _forget_watches):
        after: Place | None = START
        while after is not None:
            count, after = await writer.call(partial(forget, before=before, after=after))
            total += count
    await writer.call(partial(mutes.forget, before=before))
    name: str | None = ""
    while name is not None:
        count, name = await writer.call(partial(callbacks.forget, before=before, after=name))
        total += count
    return total


def _forget_events(connection: Connection, *, before: Micros, after: Place) -> tuple[int, Place | None]:
    """Forget events whose deliveries were all settled before, with the deliveries and their attempts.

    Returns their number, and where to continue; None at the end.
    """
    lively = exists().where(
        deliveries.c.event == events.c.pk, or_(is_open(deliveries), deliveries.c.settled_at >= before)
    )
    rows = connection.execute(
        select(events.c.at, events.c.pk, lively.label("lively"))
        .where(events.c.at < before, tuple_(events.c.at, events.c.pk) > after)
        .order_by(events.c.at, events.c.pk)
        .limit(CHUNK)
    ).all()
    pks = [row.pk for row in rows if not row.lively]
    if pks:  # another node may have made a dead delivery ready in the meantime: ask again
        connection.execute(select(deliveries.c.id).where(deliveries.c.event.in_(pks)).with_for_update())
        pks = list(connection.execute(select(events.c.pk).where(events.c.pk.in_(pks), ~lively)).scalars())
        of_these = deliveries.c.event.in_(pks)
        connection.execute(delete(attempts).where(attempts.c.delivery.in_(select(deliveries.c.id).where(of_these))))
        connection.execute(delete(deliveries).where(of_these))
        connection.execute(delete(events).where(events.c.pk.in_(pks)))
    return len(pks), (rows[-1].at, rows[-1].pk) if len(rows) == CHUNK else None


def _forget_watches(connection: Connection, *, before: Micros, after: Place) -> tuple[int, Place | None]:
    """Forget watches that ended or were removed before and have no events.

    A watch that a file still lists stays: it would be followed anew. Returns as `_forget_events` does.
    """
    over = or_(watches.c.removed_at < before, and_(watches.c.ended, watches.c.origin != "file"))
    has_events = exists().where(events.c.watch == watches.c.pk)
    rows = connection.execute(
        select(watches.c.updated_at, watches.c.pk, and_(over, ~has_events).label("over"))
        .where(watches.c.updated_at < before, tuple_(watches.c.updated_at, watches.c.pk) > after)
        .order_by(watches.c.updated_at, watches.c.pk)
        .limit(CHUNK)
    ).all()
    pks = [row.pk for row in rows if row.over]
    if pks:  # another node may have added one again in the meantime: `over` is asked again
        gone = connection.execute(delete(watches).where(watches.c.pk.in_(pks), over).returning(watches.c.pk)).scalars()
        messages.forget(connection, list(gone))
    return len(pks), (rows[-1].updated_at, rows[-1].pk) if len(rows) == CHUNK else None
