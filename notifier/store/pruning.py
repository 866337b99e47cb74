"""Prunes rows that ended long ago, a bounded number at a time.

Each transaction looks at the next CHUNK old rows, in the order of their age, and continues where the one before ended.
Rows that have to stay, which may be most, are so looked at once, and not again for every chunk.
"""

from __future__ import annotations

from functools import partial

from notifier.core.model import Micros
from notifier.store import callbacks, messages, mutes
from notifier.store.connection import Connection
from notifier.store.statements import IS_OPEN
from notifier.store.writer import Writer

CHUNK = 500  # events or watches in one transaction: others wait for it

_LIVELY = f"""
EXISTS (
    SELECT 1 FROM deliveries WHERE deliveries.event = events.pk AND ({IS_OPEN} OR deliveries.settled_at >= :before)
)
"""
_OLD_EVENTS = f"""
SELECT at, pk, {_LIVELY} AS lively FROM events WHERE at < :before AND (at, pk) > (:at, :pk)
ORDER BY at, pk LIMIT {CHUNK}
"""
_LOCK_DELIVERIES = "SELECT id FROM deliveries WHERE event IN (:pks...) FOR UPDATE"
_STILL_OLD = f"SELECT pk FROM events WHERE pk IN (:pks...) AND NOT {_LIVELY}"
_PRUNE_EVENTS = (
    "DELETE FROM attempts WHERE delivery IN (SELECT id FROM deliveries WHERE event IN (:pks...))",
    "DELETE FROM deliveries WHERE event IN (:pks...)",
    "DELETE FROM events WHERE pk IN (:pks...)",
)
# A watch that a file still lists stays: it would be followed anew.
_OVER = "(removed_at < :before OR ended = true AND origin <> 'file')"
_OLD_WATCHES = f"""
SELECT updated_at, pk, {_OVER} AND NOT EXISTS (SELECT 1 FROM events WHERE events.watch = watches.pk) AS gone
FROM watches WHERE (ended OR removed_at IS NOT NULL) AND updated_at < :before AND (updated_at, pk) > (:at, :pk)
ORDER BY updated_at, pk LIMIT {CHUNK}
"""
_PRUNE_WATCHES = f"DELETE FROM watches WHERE pk IN (:pks...) AND {_OVER} RETURNING pk"

Place = tuple[Micros, int]  # the time and key of the last row
START: Place = (-(2**63), 0)


async def prune(writer: Writer, before: Micros) -> int:
    """Delete events, watches and destinations of callbacks that ended before; return the number of rows.

    In transactions of bounded size. Raises StoreUnavailable.
    """
    total = 0
    for step in (_prune_events, _prune_watches):
        after: Place | None = START
        while after is not None:
            count, after = await writer.call(partial(step, before=before, after=after))
            total += count
    await writer.call(partial(mutes.prune, before=before))
    name: str | None = ""
    while name is not None:
        count, name = await writer.call(partial(callbacks.prune, before=before, after=name))
        total += count
    return total


def _prune_events(connection: Connection, *, before: Micros, after: Place) -> tuple[int, Place | None]:
    """Delete events whose deliveries were all settled before, with the deliveries and their attempts.

    Returns their number, and where to continue; None at the end.
    """
    at, pk = after
    rows = connection.execute(_OLD_EVENTS, {"before": before, "at": at, "pk": pk}).all()
    pks = [row.pk for row in rows if not row.lively]
    if pks:  # another node may have made a dead delivery ready in the meantime: ask again
        connection.execute(_LOCK_DELIVERIES, {"pks": pks}).all()
        pks = connection.execute(_STILL_OLD, {"pks": pks, "before": before}).scalars()
        for statement in _PRUNE_EVENTS:
            connection.execute(statement, {"pks": pks})
    return len(pks), (rows[-1].at, rows[-1].pk) if len(rows) == CHUNK else None


def _prune_watches(connection: Connection, *, before: Micros, after: Place) -> tuple[int, Place | None]:
    """Delete watches that ended or were removed before and have no events. Returns as `_prune_events` does."""
    at, pk = after
    rows = connection.execute(_OLD_WATCHES, {"before": before, "at": at, "pk": pk}).all()
    pks = [row.pk for row in rows if row.gone]
    if pks:  # another node may have added one again in the meantime: this asks again
        messages.prune(connection, connection.execute(_PRUNE_WATCHES, {"pks": pks, "before": before}).scalars())
    return len(pks), (rows[-1].updated_at, rows[-1].pk) if len(rows) == CHUNK else None
