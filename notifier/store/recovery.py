"""What follows from an endpoint's recovery: deliveries that failed while it was away do not wait for hours any more.

They are spread over time in the order in which they were due, so that an endpoint that has just come back does not get
all of them at once; what is due before its place in that order stays as it is. Each call looks at the next CHUNK
deliveries and goes on where the one before ended, as `pruning` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, Text, and_, bindparam, func, literal_column, select, tuple_, update

from notifier.core.model import Micros
from notifier.core.retry import may_be_outage
from notifier.store import callbacks
from notifier.store.schema import attempts, deliveries
from notifier.store.values import Recovery

CHUNK = 500  # deliveries in one transaction: others wait for it
BATCH = 50  # deliveries that become due together
STEP = 500_000  # microseconds from one batch to the next: a hundred deliveries a second
NEAR = 2_000_000  # microseconds: what is due so soon goes out as it is
SLACK = 1_000_000  # microseconds that an attempt may have ended before it was judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far the deliveries of a recovery have been looked at."""

    due: Micros
    id: int
    moved: int  # brought forward so far


def start(recovery: Recovery) -> Place:
    """Return the place before everything that is worth bringing forward."""
    return Place(due=recovery.at + NEAR, id=0, moved=0)


_READY = and_(
    deliveries.c.status == literal_column("'ready'", Text),  # a literal, as the partial index has it
    deliveries.c.owner.is_(None),
)
_last = attempts.alias("last")
_latest = (
    select(func.max(_last.c.at)).where(_last.c.delivery == deliveries.c.id).correlate(deliveries).scalar_subquery()
)
_NEXT: Select[Any] = (
    select(
        deliveries.c.id,
        deliveries.c.due,
        deliveries.c.attempt,
        deliveries.c.reason,
        deliveries.c.created_at,
        attempts.c.at,
        attempts.c.seconds,
        attempts.c.retry_after,
    )
    .select_from(deliveries)
    .outerjoin(attempts, and_(attempts.c.delivery == deliveries.c.id, attempts.c.at == _latest))
    .where(
        _READY,
        deliveries.c.endpoint == bindparam("endpoint"),
        tuple_(deliveries.c.due, deliveries.c.id) > tuple_(bindparam("due"), bindparam("id")),
    )
    .order_by(deliveries.c.due, deliveries.c.id)
    .limit(CHUNK)
)
_MOVE = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("_id"), _READY)
    .values(due=bindparam("_due"), attempt=bindparam("_attempt"))
)


def bring_forward(connection: Connection, recovery: Recovery, after: Place) -> tuple[Place, bool]:
    """Bring the next ones forward; return where to go on, and whether there may be more.

    The attempt that the outage cost is given back, as the one that follows now is none of the schedule's: an endpoint
    that comes and goes does not use up in an hour what was meant for days.
    """
    found = connection.execute(_NEXT, {"endpoint": recovery.endpoint, "due": after.due, "id": after.id}).all()
    moves: list[dict[str, object]] = []
    first = recovery.at + STEP * (after.moved // BATCH)
    for row in found:
        due = recovery.at + STEP * ((after.moved + len(moves)) // BATCH)
        if due < row.due and _is_of(recovery, row):
            moves.append({"_id": row.id, "_due": due, "_attempt": max(row.attempt - 1, 0)})
    if moves:
        connection.execute(_MOVE, moves)
        callbacks.wake(connection, [(recovery.endpoint, first)])
    if not found:
        return after, False
    place = Place(due=found[-1].due, id=found[-1].id, moved=after.moved + len(moves))
    return place, len(found) == CHUNK


def _is_of(recovery: Recovery, row: Row[Any]) -> bool:
    """Say whether a delivery waits because of the outage, and for no time that the endpoint itself has named."""
    return (
        row.at is not None
        and row.at + round(row.seconds * 1e6) + SLACK >= recovery.failing_since
        and row.created_at >= recovery.created_after
        and not row.retry_after
        and may_be_outage(row.reason)
    )
