"""Destinations of callbacks: one row each, found when a delivery is due, forgotten when nothing needs them.

A transaction that leaves a delivery without an owner also sets the destination's `due` (WAKE). It writes that row in
any case, and so locks it. A node that takes or leaves the destination therefore sees the delivery, or comes first and
is seen by the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    exists,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy import null as sql_null

from notifier.core.callback import Callback, is_callback
from notifier.core.model import Micros, NewWatch
from notifier.store import statements as sql
from notifier.store.hot import WAKE, Batch
from notifier.store.schema import callbacks, deliveries, watches
from notifier.store.values import CallbackClaim, CallbackHealth

CHUNK = 500  # destinations looked at in one transaction: others wait for it

_KEEP = text(  # the same on both databases; a row that exists is locked, so that nobody forgets it meanwhile
    "INSERT INTO callbacks (name, url, secret, used_at, rounds) VALUES (:name, :url, :secret, :now, 0)"
    " ON CONFLICT (name) DO UPDATE SET used_at = excluded.used_at"
)
_chosen = (
    select(callbacks.c.name)
    .where(callbacks.c.due <= bindparam("_now"))
    .order_by(callbacks.c.due, callbacks.c.name)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
    .cte("found")  # read once, or the limit would be none on PostgreSQL
)
_TAKE = (
    update(callbacks)
    .where(callbacks.c.name.in_(select(_chosen.c.name)))
    .values(owner=bindparam("_me"), due=sql_null())
    .returning(callbacks.c.name, callbacks.c.url, callbacks.c.secret, callbacks.c.held_until, callbacks.c.rounds)
)
# Not min(), for the reason that `statements.NEXT_DUE` has.
_NEXT = select(callbacks.c.due).where(callbacks.c.due.is_not(None)).order_by(callbacks.c.due, callbacks.c.name).limit(1)
_LOCK = select(callbacks.c.owner).where(callbacks.c.name == bindparam("_name")).with_for_update()
_LEAVE = (
    update(callbacks)
    .where(callbacks.c.name == bindparam("_name"))
    .values({name: bindparam(name) for name in ("due", "held_until", "rounds", "owner")})
)
# At the start of the only node: destinations that an earlier run had taken are looked at again.
FREE = update(callbacks).where(callbacks.c.owner.is_not(None)).values(owner=sql_null(), due=literal_column("0"))
# For a node among several: also destinations of others for which it owned deliveries.
FREE_OF = (
    update(callbacks)
    .where(
        or_(
            callbacks.c.owner == bindparam("_node"),
            callbacks.c.name.in_(
                select(deliveries.c.endpoint).where(sql.is_open(deliveries), deliveries.c.owner == bindparam("_node"))
            ),
        )
    )
    .values(owner=sql_null(), due=literal_column("0"))
)

_needed = or_(
    exists().where(watches.c.callback == callbacks.c.name),
    exists().where(deliveries.c.endpoint == callbacks.c.name, sql.is_open(deliveries)),
    exists().where(deliveries.c.endpoint == callbacks.c.name, sql.IS_DEAD),
)
_PAGE = (
    select(callbacks.c.name, _needed.label("needed"))
    .where(callbacks.c.name > bindparam("after"))
    .order_by(callbacks.c.name)
    .limit(CHUNK)
)


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
    rows = connection.execute(_TAKE, {"_me": node, "limit": limit, "_now": now}).all()
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
        owner = connection.execute(_LOCK, {"_name": name}).scalar()
        due = connection.execute(sql.NEXT_DUE, {"_endpoint": name}).scalar()
        health = left[name]
        row = {
            "_name": name,
            "due": None if due is None else max(due, now, health.held_until or 0),
            "held_until": health.held_until,
            "rounds": health.rounds,
            "owner": None if owner == node else owner,
        }
        connection.execute(_LEAVE, row)


def forget(connection: Connection, *, before: Micros, after: str) -> tuple[int, str | None]:
    """Forget destinations that no watch names, and that no open or dead delivery goes to.

    Returns their number, and the name to go on after; None at the end.
    """
    rows = connection.execute(_PAGE, {"after": after}).all()
    names = [row.name for row in rows if not row.needed]
    count = 0
    if names:
        unused = delete(callbacks).where(
            callbacks.c.name.in_(names), callbacks.c.used_at < before, callbacks.c.owner.is_(None)
        )
        count = connection.execute(unused).rowcount
    return count, rows[-1].name if len(rows) == CHUNK else None
