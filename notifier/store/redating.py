"""Dates of rows that go on, after the clock was set: they are moved with it, so that waits and ages stay as they were.

Dates of what has happened stay as they were written. Each call looks at the next CHUNK rows, in the order of their
keys, and returns the key to continue after; None at the end. A row that was moved cannot be told from one that was not,
so the key is saved in the same transaction (`clock_memory`).
"""

from __future__ import annotations

from notifier.core.model import Micros
from notifier.store.connection import Connection
from notifier.store.statements import IS_FOLLOWED, IS_OPEN
from notifier.store.values import BEFORE_ALL, ClockShift

CHUNK = 1000  # rows in one transaction: others wait for it


# A delivery that was attempted then: its next date may be hours later, by the schedule.
_TRIED = """
EXISTS (
    SELECT 1 FROM attempts WHERE attempts.delivery = deliveries.id AND attempts.at BETWEEN :first_{n} AND :last_{n}
)
"""
_BEGIN_WATCHES = f"""
UPDATE watches SET created_at = :now, changed_at = CASE WHEN changed_at > :now THEN :now ELSE changed_at END
WHERE {IS_FOLLOWED} AND created_at > :now
"""
_PULL_DELIVERIES = "UPDATE deliveries SET due = :now WHERE status = 'ready' AND owner IS NULL AND due > :latest"
_PULL_CALLBACKS = "UPDATE callbacks SET due = :now WHERE due > :latest"
_FREE_CALLBACKS = "UPDATE callbacks SET held_until = NULL WHERE held_until > :latest"


def watches_moved(connection: Connection, *, shift: ClockShift, after: int) -> int | None:
    """Move when open watches were created and changed."""
    moved = {name: _moved(name, shift) for name in ("created_at", "changed_at")}
    return _next(connection, "watches", "pk", IS_FOLLOWED, after, moved, shift)


def deliveries_moved(connection: Connection, *, shift: ClockShift, after: int) -> int | None:
    """Move when open deliveries are due; at the start, also when callbacks are, and since when endpoints fail."""
    if after == BEFORE_ALL:
        _move_endpoints(connection, shift)
        moved = ", ".join(f"{name} = {_moved(name, shift)}" for name in ("due", "held_until"))
        connection.execute(f"UPDATE callbacks SET {moved} WHERE due IS NOT NULL", _given(shift))
    due = _moved("due", shift, also=_TRIED)
    return _next(connection, "deliveries", "id", IS_OPEN, after, {"due": due}, shift)


def _move_endpoints(connection: Connection, shift: ClockShift) -> None:
    """Move since when endpoints fail: else a later start may disable one that failed for minutes."""
    moved = _moved("failing_since", shift)
    connection.execute(f"UPDATE endpoints SET failing_since = {moved} WHERE failing_since IS NOT NULL", _given(shift))


def watches_begun(connection: Connection, *, now: Micros) -> None:
    """Let watches that were created in the future begin now."""
    connection.execute(_BEGIN_WATCHES, {"now": now})


def deliveries_due(connection: Connection, *, latest: Micros, now: Micros) -> int:
    """Make deliveries due now that are due after `latest`; return their number."""
    given = {"latest": latest, "now": now}
    count = connection.execute(_PULL_DELIVERIES, given).count
    connection.execute(_PULL_CALLBACKS, given)
    connection.execute(_FREE_CALLBACKS, given)
    return count


def _next(
    connection: Connection, table: str, key: str, condition: str, after: int, moved: dict[str, str], shift: ClockShift
) -> int | None:
    keys = connection.execute(
        f"SELECT {key} FROM {table} WHERE {key} > :after AND {condition} ORDER BY {key} LIMIT {CHUNK}", {"after": after}
    ).scalars()
    if keys:
        dates = ", ".join(f"{name} = {value}" for name, value in moved.items())
        connection.execute(
            f"UPDATE {table} SET {dates} WHERE {key} BETWEEN :from_key AND :to_key AND {condition}",
            _given(shift) | {"from_key": keys[0], "to_key": keys[-1]},
        )
    return keys[-1] if len(keys) == CHUNK else None


def _moved(date: str, shift: ClockShift, also: str | None = None) -> str:
    """Return a date moved by as much as the clock was set since it wrote it; the parameters are those of `_given`.

    It wrote it between the settings between which it showed it, or where `also` says so.
    """
    cases = []
    for n in range(len(shift.written)):
        shown = f"{date} BETWEEN :first_{n} AND :last_{n}"
        cases.append(f"WHEN {shown if also is None else f'{shown} OR {also.format(n=n)}'} THEN {date} + :by_{n}")
    return f"CASE {' '.join(cases)} ELSE {date} + :by END" if cases else f"{date} + :by"


def _given(shift: ClockShift) -> dict[str, int]:
    given = {"by": shift.by}
    for n, written in enumerate(shift.written):
        given |= {f"first_{n}": written.first, f"last_{n}": written.last, f"by_{n}": written.by}
    return given
