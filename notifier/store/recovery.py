"""The recovery of an endpoint: deliveries that failed during its outage are brought forward.

They are spread over time in the order in which they were due, so that an endpoint that has just recovered does not get
all of them at once. A delivery that is due before its place in that order stays as it is. Each call looks at the next
CHUNK deliveries, and continues where the call before ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from notifier.core.model import Micros
from notifier.core.retry import may_be_outage
from notifier.store import callbacks
from notifier.store.connection import Connection
from notifier.store.hot import together
from notifier.store.values import Recovery

CHUNK = 500  # deliveries in one transaction: others wait for it
BATCH = 50  # deliveries that become due together
STEP = 500_000  # microseconds from one batch to the next: a hundred deliveries a second
NEAR = 2_000_000  # microseconds: a delivery that is due so soon stays as it is
SLACK = 1_000_000  # microseconds between the end of an attempt and its verdict, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far the deliveries of a recovery have been examined."""

    due: Micros
    id: int
    moved: int  # brought forward so far


def start(recovery: Recovery) -> Place:
    """Return the place before the first delivery that may be brought forward."""
    return Place(due=recovery.at + NEAR, id=0, moved=0)


_NEXT = f"""
SELECT deliveries.id, deliveries.due, deliveries.attempt, deliveries.reason, deliveries.created_at, attempts.at,
    attempts.seconds, attempts.retry_after
FROM deliveries LEFT JOIN attempts ON attempts.delivery = deliveries.id
    AND attempts.at = (SELECT max(latest.at) FROM attempts AS latest WHERE latest.delivery = deliveries.id)
WHERE deliveries.status = 'ready' AND deliveries.owner IS NULL AND deliveries.endpoint = :endpoint
    AND (deliveries.due, deliveries.id) > (:due, :id)
ORDER BY deliveries.due, deliveries.id LIMIT {CHUNK}
"""
_MOVE = """
UPDATE deliveries SET due = :due, attempt = :attempt WHERE id = :id AND status = 'ready' AND owner IS NULL
"""


def bring_forward(connection: Connection, recovery: Recovery, after: Place) -> tuple[Place, bool]:
    """Bring the next deliveries forward; return where to continue, and whether there may be more.

    The attempt that the outage cost is given back, since the next one is outside of the schedule. Otherwise an endpoint
    that comes and goes would use up in an hour a schedule of days.
    """
    rows = connection.execute(_NEXT, {"endpoint": recovery.endpoint, "due": after.due, "id": after.id}).all()
    moves: list[dict[str, object]] = []
    first = recovery.at + STEP * (after.moved // BATCH)
    for row in rows:
        due = recovery.at + STEP * ((after.moved + len(moves)) // BATCH)
        if due < row.due and _is_of(recovery, row):
            moves.append({"id": row.id, "due": due, "attempt": max(row.attempt - 1, 0)})
    if moves:
        connection.execute(_MOVE, moves)
        with together(connection) as batch:
            callbacks.wake(batch, [(recovery.endpoint, first)])
    if not rows:
        return after, False
    place = Place(due=rows[-1].due, id=rows[-1].id, moved=after.moved + len(moves))
    return place, len(rows) == CHUNK


def _is_of(recovery: Recovery, row: Any) -> bool:
    """Return whether a delivery waits because of the outage, and not for a time that the endpoint asked for."""
    return (
        row.at is not None
        and row.at + round(row.seconds * 1e6) + SLACK >= recovery.failing_since
        and row.created_at >= recovery.created_after
        and not row.retry_after
        and may_be_outage(row.reason)
    )
