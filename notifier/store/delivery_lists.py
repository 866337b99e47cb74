"""Lists of deliveries, and counts of all rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from notifier.core.callback import LABEL, PREFIX, origin
from notifier.core.model import Micros
from notifier.core.payload import timestamp
from notifier.store.connection import Connection
from notifier.store.items import AttemptItem, DeliveryDetail, DeliveryItem, Summary
from notifier.store.statements import IS_OPEN
from notifier.store.values import DeliveryFilter

RECENT = 20_000  # deliveries that are scanned before an index is used: some milliseconds
# Statuses that an index has apart from the many settled deliveries.
_INDEXED: dict[str | None, Sequence[str]] = {
    "pending": ("ready", "waiting"),
    "ready": ("ready",),
    "waiting": ("waiting",),
    "dead": ("dead",),
}

_COLUMNS = """
deliveries.*, events.id AS event_id, events.type, watches.source, watches.id AS task,
    (SELECT url FROM callbacks WHERE callbacks.name = deliveries.endpoint) AS callback_url
"""
_FROM = """
FROM deliveries JOIN events ON events.pk = deliveries.event LEFT JOIN watches ON watches.pk = deliveries.lane
"""
_TOLD = f"SELECT {_COLUMNS} {_FROM}"
_DETAIL = f"SELECT {_COLUMNS}, events.body {_FROM} WHERE deliveries.id = :id"
_CHOSEN = f"{_TOLD} WHERE deliveries.id IN (:ids...) ORDER BY deliveries.id DESC"
_OF_EVENTS = f"{_TOLD} WHERE deliveries.event IN (:pks...) ORDER BY deliveries.id"
_ATTEMPTS = "SELECT * FROM attempts WHERE delivery = :delivery ORDER BY at"
_AFTER_ALL = "SELECT coalesce(max(id), 0) + 1 FROM deliveries"
_OF_CALLBACK = f"substr(endpoint, 1, {len(PREFIX)}) = '{PREFIX}'"
# Those that ended are counted along their index, which has the phase first; the others' tells only which they are.
_PHASES = tuple(
    f"SELECT source, phase, lost IS NOT NULL, count(*) FROM watches WHERE {which} GROUP BY phase, source, lost"
    for which in (
        "removed_at IS NULL AND ended",
        "pk IN (SELECT pk FROM watches WHERE removed_at IS NULL AND NOT ended)",
    )
)
_LOST = """
SELECT watches.source, watches.lost, count(DISTINCT watches.pk)
FROM events JOIN watches ON watches.pk = events.watch
WHERE events.type = 'watch.lost' AND events.at >= :since AND watches.lost IS NOT NULL AND watches.removed_at IS NULL
GROUP BY watches.source, watches.lost
"""


# All destinations of callbacks count as one endpoint.
def _by_endpoint(condition: str) -> str:
    return f"""
SELECT CASE WHEN {_OF_CALLBACK} THEN '{LABEL}' ELSE endpoint END AS label, sum(number) AS number, min(oldest) AS oldest
FROM (
    SELECT endpoint, count(*) AS number, min(created_at) AS oldest FROM deliveries WHERE {condition} GROUP BY endpoint
) AS counted
GROUP BY label
"""


_PENDING, _DEAD = _by_endpoint(IS_OPEN), _by_endpoint("status = 'dead'")


def summary(connection: Connection, lost_since: Micros) -> Summary:
    """Count watches by source and phase (`new` before the first observation, `lost`), deliveries by endpoint."""
    per_source: dict[str, dict[str, int]] = {}
    for source, phase, lost, count in chain.from_iterable(map(connection.execute, _PHASES)):
        of = per_source.setdefault(source, {})
        key = "lost" if lost else phase or "new"
        of[key] = of.get(key, 0) + count
    return {
        "watches": per_source,
        "pending": {
            row.label: {"count": int(row.number), "oldest": row.oldest} for row in connection.execute(_PENDING)
        },
        "dead": {row.label: int(row.number) for row in connection.execute(_DEAD)},
        "lost": _lost(connection, lost_since),
    }


def _lost(connection: Connection, since: Micros) -> dict[str, dict[str, int]]:
    """Count the watches that were given up since then, by source and reason; not those that were removed."""
    per_source: dict[str, dict[str, int]] = {}
    for source, reason, count in connection.execute(_LOST, {"since": since}):
        per_source.setdefault(source, {})[reason] = count
    return per_source


def deliveries_page(
    connection: Connection, which: DeliveryFilter, limit: int, before: int | None
) -> list[DeliveryItem]:
    """List deliveries, newest first."""
    of_few = which.watch is not None or which.task is not None  # a watch has few
    if which.id is None and not of_few and which.status in _INDEXED:
        chosen = _newest(connection, which, limit, before)
        return [_item(row) for row in connection.execute(_CHOSEN, {"ids": chosen})]
    where, given = conditions(which)
    if before is not None:
        where += " AND deliveries.id < :before"
    # A sum fits no index: those of a watch are found by the index of events.
    order = "deliveries.id + 0" if of_few else "deliveries.id"
    query = f"{_TOLD} WHERE {where} ORDER BY {order} DESC LIMIT :limit"
    return [_item(row) for row in connection.execute(query, given | {"before": before, "limit": limit})]


def delivery_detail(connection: Connection, number: int) -> DeliveryDetail | None:
    """Show a delivery with its body and attempts."""
    row = connection.execute(_DETAIL, {"id": number}).first()
    if row is None:
        return None
    return {**_item(row), "payload": json.loads(row.body), "attempts": _attempts(connection, number)}


def _newest(connection: Connection, which: DeliveryFilter, limit: int, before: int | None) -> Sequence[int]:
    """Return the ids of a page of open or dead deliveries, which may be most rows or very few.

    If they are many, the newest rows fill the page. If not, an index lists them, though in another order: few are
    found at once, where otherwise all rows would be read.
    """
    if before is None:
        [before] = connection.execute(_AFTER_ALL).scalars()
    where, given = conditions(replace(which, status=None))
    recent = f"""
        SELECT id FROM deliveries
        WHERE status IN (:statuses...) AND {where} AND id < :before AND id >= :recent
        ORDER BY id DESC LIMIT :limit
    """
    given |= {"before": before, "limit": limit}
    window = {"statuses": list(_INDEXED[which.status]), "recent": before - RECENT}
    ids = connection.execute(recent, given | window).scalars()
    if len(ids) == limit:
        return ids
    where, more = conditions(which)
    # A sum fits no index: otherwise the primary key would be read from its end.
    indexed = f"SELECT id FROM deliveries WHERE {where} AND id + 0 < :before ORDER BY id + 0 DESC LIMIT :limit"
    return connection.execute(indexed, given | more).scalars()


def deliveries_of(connection: Connection, pks: Sequence[int]) -> dict[int, list[DeliveryItem]]:
    """List the deliveries of events, oldest first."""
    by_event: dict[int, list[DeliveryItem]] = {pk: [] for pk in pks}
    for row in connection.execute(_OF_EVENTS, {"pks": list(pks)}):
        by_event[row.event].append(_item(row))
    return by_event


def conditions(which: DeliveryFilter) -> tuple[str, dict[str, Any]]:
    """Return the condition of a filter, in the words of the indexes, and its parameters."""
    every: list[str] = ["true"]
    if which.id is not None:
        every.append("deliveries.id = :id")
    if which.endpoint == LABEL:
        every.append(f"(deliveries.endpoint = :endpoint OR {_OF_CALLBACK})")
    elif which.endpoint is not None:
        every.append("deliveries.endpoint = :endpoint")
    source, task_id = which.watch or (None, which.task)
    if which.watch is not None:
        watch = "(SELECT pk FROM watches WHERE source = :source AND id = :task)"
        every.append(f"deliveries.event IN (SELECT pk FROM events WHERE watch = {watch})")
    if which.task is not None:
        named = "(SELECT pk FROM watches WHERE id = :task)"
        every.append(f"deliveries.event IN (SELECT pk FROM events WHERE watch IN {named})")
    if which.status == "pending":
        every.append(f"deliveries.{IS_OPEN}")
    elif which.status == "dead":
        every.append("deliveries.status = 'dead'")
    elif which.status is not None:
        if which.status in _INDEXED:
            every.append(f"deliveries.{IS_OPEN}")  # in the words of the index
        every.append("deliveries.status = :status")
    if which.since is not None:
        every.append("deliveries.created_at >= :since")
    if which.until is not None:
        every.append("deliveries.created_at < :until")
    given = {name: getattr(which, name) for name in ("id", "endpoint", "status", "since", "until")}
    return " AND ".join(every), given | {"source": source, "task": task_id}


def _item(row: Any) -> DeliveryItem:
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
        "manual": bool(row.manual),
        "created_at": timestamp(row.created_at),
        "due": timestamp(row.due) if row.settled_at is None else None,
        "settled_at": None if row.settled_at is None else timestamp(row.settled_at),
    }


def _attempts(connection: Connection, delivery: int) -> list[AttemptItem]:
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
        for row in connection.execute(_ATTEMPTS, {"delivery": delivery})
    ]
