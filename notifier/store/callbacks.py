"""Destinations of callbacks: one row each, found when a delivery is due, forgotten when nothing needs them.

A transaction that leaves a delivery without an owner also sets the destination's `due` (WAKE). It writes that row in
any case, and so locks it. A node that takes or leaves the destination therefore sees the delivery, or comes first and
is seen by the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from notifier.core.callback import Callback, is_callback
from notifier.core.model import Micros, NewWatch
from notifier.store import statements as sql
from notifier.store.connection import Connection
from notifier.store.hot import WAKE, Batch
from notifier.store.values import CallbackClaim, CallbackHealth

CHUNK = 500  # destinations looked at in one transaction: others wait for it

# A row that exists is locked, so that nobody prunes it meanwhile.
_KEEP = """
INSERT INTO callbacks (name, url, secret, used_at, rounds) VALUES (:name, :url, :secret, :now, 0)
ON CONFLICT (name) DO UPDATE SET used_at = excluded.used_at
"""
# The first part is read once, or the limit would be none on PostgreSQL.
_TAKE = """
WITH found AS (
    SELECT name FROM callbacks WHERE due <= :now ORDER BY due, name LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE callbacks SET owner = :me, due = NULL WHERE name IN (SELECT name FROM found)
RETURNING name, url, secret, held_until, rounds
"""
# Not min(), for the reason that `statements.NEXT_DUE` has.
_NEXT = "SELECT due FROM callbacks WHERE due IS NOT NULL ORDER BY due, name LIMIT 1"
_LOCK = "SELECT owner FROM callbacks WHERE name = :name FOR UPDATE"
_LEAVE = """
UPDATE callbacks SET due = :due, held_until = :held_until, rounds = :rounds, owner = :owner WHERE name = :name
"""
# At the start of the only node: destinations that an earlier run had taken are looked at again.
FREE = "UPDATE callbacks SET owner = NULL, due = 0 WHERE owner IS NOT NULL"
# For a node among several: also destinations of others for which it owned deliveries.
FREE_OF = f"""
UPDATE callbacks SET owner = NULL, due = 0
WHERE owner = :node OR name IN (SELECT endpoint FROM deliveries WHERE {sql.IS_OPEN} AND deliveries.owner = :node)
"""
_PAGE = f"""
SELECT name, EXISTS (SELECT 1 FROM watches WHERE watches.callback = callbacks.name)
    OR EXISTS (SELECT 1 FROM deliveries WHERE endpoint = callbacks.name AND {sql.IS_OPEN})
    OR EXISTS (SELECT 1 FROM deliveries WHERE endpoint = callbacks.name AND status = 'dead') AS needed
FROM callbacks WHERE name > :after ORDER BY name LIMIT {CHUNK}
"""
_PRUNE = "DELETE FROM callbacks WHERE name IN (:names...) AND used_at < :before AND owner IS NULL"


def keep(connection: Connection, added: Iterable[NewWatch], now: Micros) -> None:
    """Store the destinations that these watches name."""
    named = {watch.callback.name: watch.callback for watch in added if watch.callback is not None}
    if named:
        rows = [
            {"name": name, "url": callback.url, "secret": callback.secret, "now": now}
            for name, callback in named.items()
        ]
        connection.execute(_KEEP, sorted(rows, key=lambda row: str(row["name"])))


def wake(batch: Batch, due: Iterable[tuple[str, Micros]]) -> None:
    """Set when to look for deliveries without an owner, by endpoint; endpoints that are no callbacks are left out.

    All nodes write in the same order, so that no two wait for each other.
    """
    earliest: dict[str, Micros] = {}
    for name, at in due:
        if is_callback(name):
            earliest[name] = min(at, earliest.get(name, at))
    if earliest:
        batch.run(WAKE, [{"_name": name, "_due": earliest[name]} for name in sorted(earliest)])


def take(connection: Connection, node: int, limit: int, now: Micros) -> CallbackClaim:
    """Claim destinations with deliveries that are due."""
    rows = connection.execute(_TAKE, {"me": node, "limit": limit, "now": now})
    taken = tuple(
        (
            Callback(url=row.url, secret=row.secret, kept_as=row.name),
            CallbackHealth(held_until=row.held_until, rounds=row.rounds),
        )
        for row in rows
    )
    return CallbackClaim(taken=taken, next_due=connection.execute(_NEXT).scalar())


def leave(connection: Connection, node: int, left: Mapping[str, CallbackHealth], now: Micros) -> None:
    """Release destinations; those that are due now go to the end of the queue."""
    for name in sorted(left):
        owner = connection.execute(_LOCK, {"name": name}).scalar()
        due = connection.execute(sql.NEXT_DUE, {"endpoint": name}).scalar()
        health = left[name]
        row = {
            "name": name,
            "due": None if due is None else max(due, now, health.held_until or 0),
            "held_until": health.held_until,
            "rounds": health.rounds,
            "owner": None if owner == node else owner,
        }
        connection.execute(_LEAVE, row)


def prune(connection: Connection, *, before: Micros, after: str) -> tuple[int, str | None]:
    """Delete destinations that no watch names, and that no open or dead delivery goes to.

    Returns their number, and the name to go on after; None at the end.
    """
    rows = connection.execute(_PAGE, {"after": after}).all()
    names = [row.name for row in rows if not row.needed]
    count = 0
    if names:
        count = connection.execute(_PRUNE, {"names": names, "before": before}).count
    return count, rows[-1].name if len(rows) == CHUNK else None
