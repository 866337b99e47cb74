"""Lists of deliveries, and counts of all rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, distinct, func, select

from notifier.core.callback import LABEL, PREFIX, origin
from notifier.core.model import Micros
from notifier.core.payload import timestamp
from notifier.store.items import AttemptItem, DeliveryDetail, DeliveryItem, Summary
from notifier.store.schema import OPEN, attempts, callbacks, deliveries, events, watches
from notifier.store.statements import IS_DEAD, is_open
from notifier.store.values import DeliveryFilter

RECENT = 20_000  # deliveries that are scanned before an index is used: some milliseconds
# Statuses that an index has apart from the many settled deliveries.
_INDEXED: dict[str | None, Sequence[str]] = {
    "pending": OPEN,
    "ready": ("ready",),
    "waiting": ("waiting",),
    "dead": ("dead",),
}

_CALLBACK = select(callbacks.c.url).where(callbacks.c.name == deliveries.c.endpoint).scalar_subquery()
_TOLD = (
    select(
        deliveries,
        events.c.id.label("event_id"),
        events.c.type,
        watches.c.source,
        watches.c.id.label("task"),
        _CALLBACK.label("callback_url"),
    )
    .join(events, events.c.pk == deliveries.c.event)
    .outerjoin(watches, watches.c.pk == deliveries.c.lane)
)


def summary(connection: Connection, lost_since: Micros) -> Summary:
    """Count watches by source and phase (`new` before the first observation, `lost`), deliveries by endpoint."""
    phase = func.coalesce(watches.c.lost, watches.c.phase, "new")
    counted = connection.execute(
        select(watches.c.source, watches.c.lost.is_not(None), phase, func.count())
        .where(watches.c.removed_at.is_(None))
        .group_by(watches.c.source, watches.c.lost.is_not(None), phase)
    )
    per_source: dict[str, dict[str, int]] = {}
    for source, lost, name, count in counted:
        of = per_source.setdefault(source, {})
        key = "lost" if lost else name
        of[key] = of.get(key, 0) + count
    pending = _by_endpoint(connection, is_open(deliveries))
    dead = _by_endpoint(connection, IS_DEAD)
    return {
        "watches": per_source,
        "pending": {name: {"count": count, "oldest": oldest} for name, count, oldest in pending},
        "dead": {name: count for name, count, _ in dead},
        "lost": _lost(connection, lost_since),
    }


def _lost(connection: Connection, since: Micros) -> dict[str, dict[str, int]]:
    """Count the watches that were given up since then, by source and reason; not those that were removed."""
    given_up = (events.c.type == "watch.lost") & (events.c.at >= since)
    counted = connection.execute(
        select(watches.c.source, watches.c.lost, func.count(distinct(watches.c.pk)))
        .join_from(events, watches, watches.c.pk == events.c.watch)
        .where(given_up, watches.c.lost.is_not(None), watches.c.removed_at.is_(None))
        .group_by(watches.c.source, watches.c.lost)
    )
    per_source: dict[str, dict[str, int]] = {}
    for source, reason, count in counted:
        per_source.setdefault(source, {})[reason] = count
    return per_source


def _by_endpoint(connection: Connection, condition: ColumnElement[bool]) -> list[tuple[str, int, Micros]]:
    """Count deliveries by endpoint, and find the oldest. All destinations of callbacks count as one endpoint."""
    each = (
        select(deliveries.c.endpoint, func.count().label("rows"), func.min(deliveries.c.created_at).label("oldest"))
        .where(condition)
        .group_by(deliveries.c.endpoint)
        .subquery()
    )
    label = case((_of_callback(each.c.endpoint), LABEL), else_=each.c.endpoint)
    rows = connection.execute(select(label, func.sum(each.c.rows), func.min(each.c.oldest)).group_by(label))
    return [(name, int(count), oldest) for name, count, oldest in rows]


def _of_callback(endpoint: ColumnElement[str]) -> ColumnElement[bool]:
    return func.substr(endpoint, 1, len(PREFIX)) == PREFIX


def deliveries_page(
    connection: Connection, which: DeliveryFilter, limit: int, before: int | None
) -> list[DeliveryItem]:
    """List deliveries, newest first."""
    query = _TOLD.order_by(deliveries.c.id.desc())
    of_few = which.watch is not None or which.task is not None  # a watch has few
    if which.id is None and not of_few and which.status in _INDEXED:
        chosen = _newest(connection, which, limit, before)
        return [_item(row) for row in connection.execute(query.where(deliveries.c.id.in_(chosen)))]
    query = query.where(*conditions(which)).limit(limit)
    if before is not None:
        query = query.where(deliveries.c.id < before)
    if of_few:
        query = query.order_by(None).order_by((deliveries.c.id + 0).desc())  # by the index of events
    return [_item(row) for row in connection.execute(query)]


def delivery_detail(connection: Connection, number: int) -> DeliveryDetail | None:
    """Show a delivery with its body and attempts."""
    row = connection.execute(_TOLD.add_columns(events.c.body).where(deliveries.c.id == number)).one_or_none()
    if row is None:
        return None
    return {**_item(row), "payload": json.loads(row.body), "attempts": _attempts(connection, number)}


def _newest(connection: Connection, which: DeliveryFilter, limit: int, before: int | None) -> Sequence[int]:
    """Return the ids of a page of open or dead deliveries, which may be most rows or very few.

    If they are many, the newest rows fill the page. If not, an index lists them, though in another order: few are
    found at once, where otherwise all rows would be read.
    """
    if before is None:
        before = connection.execute(select(func.coalesce(func.max(deliveries.c.id), 0) + 1)).scalar_one()
    recent = (
        select(deliveries.c.id)
        .where(deliveries.c.status.in_(_INDEXED[which.status]), *conditions(replace(which, status=None)))
        .where(deliveries.c.id < before, deliveries.c.id >= before - RECENT)
        .order_by(deliveries.c.id.desc())
        .limit(limit)
    )
    ids = connection.execute(recent).scalars().all()
    if len(ids) == limit:
        return ids
    number = deliveries.c.id + 0  # a sum fits no index: otherwise the primary key would be read from its end
    indexed = select(deliveries.c.id).where(*conditions(which), number < before).order_by(number.desc()).limit(limit)
    return connection.execute(indexed).scalars().all()


def deliveries_of(connection: Connection, pks: Sequence[int]) -> dict[int, list[DeliveryItem]]:
    """List the deliveries of events, oldest first."""
    by_event: dict[int, list[DeliveryItem]] = {pk: [] for pk in pks}
    rows = connection.execute(_TOLD.where(deliveries.c.event.in_(pks)).order_by(deliveries.c.id))
    for row in rows:
        by_event[row.event].append(_item(row))
    return by_event


def conditions(which: DeliveryFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of a filter, in the words of the indexes."""
    every: list[ColumnElement[bool]] = []
    if which.id is not None:
        every.append(deliveries.c.id == which.id)
    if which.endpoint == LABEL:
        every.append((deliveries.c.endpoint == LABEL) | _of_callback(deliveries.c.endpoint))
    elif which.endpoint is not None:
        every.append(deliveries.c.endpoint == which.endpoint)
    if which.watch is not None:
        source, task_id = which.watch
        watch = select(watches.c.pk).where(watches.c.source == source, watches.c.id == task_id).scalar_subquery()
        every.append(deliveries.c.event.in_(select(events.c.pk).where(events.c.watch == watch)))
    if which.task is not None:
        named = select(watches.c.pk).where(watches.c.id == which.task)
        every.append(deliveries.c.event.in_(select(events.c.pk).where(events.c.watch.in_(named))))
    if which.status == "pending":
        every.append(is_open(deliveries))
    elif which.status == "dead":
        every.append(IS_DEAD)
    elif which.status is not None:
        if which.status in OPEN:
            every.append(is_open(deliveries))  # in the words of the index
        every.append(deliveries.c.status == which.status)
    if which.since is not None:
        every.append(deliveries.c.created_at >= which.since)
    if which.until is not None:
        every.append(deliveries.c.created_at < which.until)
    return every


def _item(row: Row[Any]) -> DeliveryItem:
    return {
        "id": row.id,
        "event_id": row.event_id,
        "type": row.type,
        "endpoint": row.endpoint,
        "callback": row.callback_url and origin(row.callback_url),
        "source": row.source,
        "task": row.task,
        "sequence": row.sequence,
        "status": row.status,
        "attempt": row.attempt,
        "reason": row.reason,
        "manual": row.manual,
        "created_at": timestamp(row.created_at),
        "due": timestamp(row.due) if row.settled_at is None else None,
        "settled_at": None if row.settled_at is None else timestamp(row.settled_at),
    }


def _attempts(connection: Connection, delivery: int) -> list[AttemptItem]:
    rows = connection.execute(select(attempts).where(attempts.c.delivery == delivery).order_by(attempts.c.at))
    return [
        {
            "at": timestamp(row.at),
            "outcome": row.outcome,
            "reason": row.reason,
            "detail": row.detail,
            "status": row.status,
            "seconds": row.seconds,
            "phases": json.loads(row.phases) if row.phases else {},
            "address": row.address,
            "reply": row.reply,
            "retry_after": row.retry_after,
        }
        for row in rows
    ]
