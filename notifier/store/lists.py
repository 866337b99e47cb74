"""Lists for people and programs: watches, events and deliveries, in pages that stay put while rows are added.

A page begins at a primary key, which grows with each row. A row that is added while somebody turns pages comes before
the first page or after the last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from notifier.core.callback import origin
from notifier.core.model import TERMINAL, Json, Micros
from notifier.core.payload import timestamp
from notifier.store.connection import Connection
from notifier.store.delivery_lists import deliveries_of, deliveries_page, delivery_detail, summary
from notifier.store.items import (
    DeliveryDetail,
    DeliveryItem,
    EventDetail,
    EventItem,
    Summary,
    WatchRow,
    WatchRowDetail,
)
from notifier.store.keys import SETTLED
from notifier.store.reader import Reader
from notifier.store.values import DeliveryFilter, EventFilter, WatchFilter

TIMELINE = 200  # events shown with one watch, the latest
TIMELINE_BYTES = 4 << 20  # of their payloads
MAX_COLONS = 50  # of a label's key that is looked for

_SPECIAL = re.compile("[%_/]")  # in a pattern of LIKE

_WATCHES = """
SELECT watches.*, (SELECT url FROM callbacks WHERE callbacks.name = watches.callback) AS callback_url
FROM watches
"""
_WANTED = "removed_at IS NULL"  # the condition of the indexes for lists
_WATCH = f"{_WATCHES} WHERE {_WANTED} AND source = :source AND id = :id"
_EVENTS = """
SELECT events.*, watches.source, watches.id AS task FROM events LEFT JOIN watches ON watches.pk = events.watch
"""
_LATEST = f"{_EVENTS} WHERE events.watch = :watch ORDER BY events.sequence DESC LIMIT :limit"
_FIRST = "SELECT min(sequence) FROM events WHERE watch = :watch"


class Lists:
    """Pages and counts of what is stored. Each method raises StoreUnavailable."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def summary(self, *, lost_since: Micros = 0) -> Summary:
        """Count watches by source and phase, deliveries by endpoint and status, with the oldest open ones."""
        return await self._reader.count(partial(summary, lost_since=lost_since))

    async def deliveries(self, which: DeliveryFilter, *, limit: int, before: int | None = None) -> list[DeliveryItem]:
        """List deliveries, newest first; `before` is the id of a delivery."""
        return await self._reader.page(partial(deliveries_page, which=which, limit=limit, before=before))

    async def delivery(self, number: int) -> DeliveryDetail | None:
        """Show a delivery with its body and attempts; None: there is none."""
        return await self._reader.page(partial(delivery_detail, number=number))

    async def watches(self, which: WatchFilter, *, limit: int, before: int | None = None) -> list[WatchRow]:
        """List watches, newest first; `before` is the `pk` of a watch."""
        return await self._reader.page(partial(_watches, which=which, limit=limit, before=before))

    async def watch(self, source: str, task_id: str) -> WatchRowDetail | None:
        """Show a watch that was not removed, with its latest events and their deliveries; None: there is none."""
        return await self._reader.page(partial(_watch_detail, source=source, task_id=task_id))

    async def events(
        self,
        which: EventFilter,
        *,
        limit: int,
        before: int | None = None,
        after: int | None = None,
        in_order: bool = False,
    ) -> list[EventItem]:
        """List events, newest first, those `before` a cursor; with `after`, oldest first, those after a cursor.

        `in_order`, and always with `after`: only events before which no other can appear any more.
        """
        query = partial(_events, which=which, limit=limit, before=before, after=after, in_order=in_order)
        return await self._reader.page(query)


def _watches(connection: Connection, which: WatchFilter, limit: int, before: int | None) -> list[WatchRow]:
    """List watches, newest first."""
    every, given = _watch_conditions(which, shared=connection.shared)
    if before is not None:
        every.append("pk < :before")
    query = f"{_WATCHES} WHERE {' AND '.join(every)} ORDER BY pk DESC LIMIT :limit"
    return [_watch(row) for row in connection.execute(query, given | {"before": before, "limit": limit})]


def _watch_detail(connection: Connection, source: str, task_id: str) -> WatchRowDetail | None:
    """Show a watch with its latest events, oldest first, and their deliveries."""
    row = connection.execute(_WATCH, {"source": source, "id": task_id}).first()
    if row is None:
        return None
    latest = list(_latest(connection, row.pk))
    deliveries = deliveries_of(connection, [event.pk for event in latest])
    details: list[EventDetail] = []
    for event in reversed(latest):
        body = json.loads(event.body)
        details.append({**_event(event, body), "payload": body, "deliveries": deliveries[event.pk]})
    more = bool(details) and details[0]["sequence"] > _first(connection, row.pk)
    return {**_watch(row), "events": details, "more": more}


def _events(
    connection: Connection, which: EventFilter, limit: int, before: int | None, after: int | None, in_order: bool
) -> list[EventItem]:
    """List events, newest first; with `after`, oldest first."""
    every, given = _event_conditions(which)
    if (in_order or after is not None) and connection.shared:
        every.append(SETTLED)
    if before is not None:
        every.append("events.pk < :before")
    if after is not None:
        every.append("events.pk > :after")
    order = "DESC" if after is None else "ASC"
    query = f"{_EVENTS} WHERE {' AND '.join(every)} ORDER BY events.pk {order} LIMIT :limit"
    rows = connection.execute(query, given | {"before": before, "after": after, "limit": limit})
    return [_event(row, json.loads(row.body)) for row in rows]


# -- conditions


def _watch_conditions(which: WatchFilter, *, shared: bool) -> tuple[list[str], dict[str, Any]]:
    every = ["true" if which.removed else _WANTED]
    if which.source is not None:
        # Those in such a phase go on, which few do beside those of the source that ended. SQLite, which has no
        # statistics, would look among all of these unless a sign keeps it from that.
        goes_on = which.phase not in (None, "lost", *TERMINAL) and not which.removed
        every.append("+source = :source" if goes_on and which.id is None and not shared else "source = :source")
    if which.id is not None:
        every.append("id = :id")
    match which.phase:
        case None:
            pass
        case "new":
            every.append("phase IS NULL AND lost IS NULL AND NOT ended")
        case "lost":
            every.append("ended = true AND lost IS NOT NULL")
        case phase:  # as in the counts: each watch is in one phase; `ended` or not, as the conditions of the indexes
            every.append(f"phase = :phase AND lost IS NULL AND {'ended' if phase in TERMINAL else 'NOT ended'}")
    if which.state is not None:
        every.append("state = :state")
    if which.ended is not None:
        every.append("ended = true" if which.ended else "NOT ended")  # the latter as its index has it
    given = {name: getattr(which, name) for name in ("source", "id", "phase", "state")}
    if which.text is not None:
        every.append("lower(id) LIKE '%' || lower(:text) || '%' ESCAPE '/'")
        given["text"] = _SPECIAL.sub(r"/\g<0>", which.text)
    for number, text in enumerate(which.labels):
        condition, label = _written(number, text)
        every.append(condition)
        given |= label
    return every, given


def _written(number: int, text: str) -> tuple[str, dict[str, str]]:
    """Return the condition that a label is written KEY:VALUE as `text`, and its parameters: any colon may be that one.

    A key with more than MAX_COLONS colons is not found: each costs time of every row.
    """
    parts = text.split(":", MAX_COLONS + 1)
    conditions: list[str] = []
    given: dict[str, str] = {}
    for place in range(1, len(parts)):
        condition, label = _labelled(f"{number}_{place}", ":".join(parts[:place]), ":".join(parts[place:]))
        conditions.append(condition)
        given |= label
    return f"({' OR '.join(conditions)})", given


def _labelled(number: str, key: str, value: str) -> tuple[str, dict[str, str]]:
    """Return the condition that the stored JSON text of the labels contains a label, and its parameters.

    It is exact: beside a comma or the first brace a quotation mark is JSON's own, since one inside a text follows a
    backslash.
    """
    pair = f"{json.dumps(key)}: {json.dumps(value)}"
    is_first = f"substr(labels, 1, {len(pair) + 1}) = :first_{number}"
    is_later = f"replace(labels, :later_{number}, '') <> labels"
    return f"({is_first} OR {is_later})", {f"first_{number}": "{" + pair, f"later_{number}": f", {pair}"}


def _event_conditions(which: EventFilter) -> tuple[list[str], dict[str, Any]]:
    every = ["true"]
    if which.type is not None:
        every.append("events.type = :type")
    if which.task is not None:
        of_source = "" if which.source is None else " AND source = :source"
        every.append(f"events.watch IN (SELECT pk FROM watches WHERE id = :task{of_source})")
    elif which.source is not None:
        # Events without a watch have source "". Beginning with the watches would mean to sort all of their events.
        every.append("coalesce(watches.source, '') = :source")
    return every, {"type": which.type, "task": which.task, "source": which.source}


def _latest(connection: Connection, watch: int) -> Iterator[Any]:
    """Yield the latest events, newest first, up to TIMELINE and TIMELINE_BYTES."""
    size = 0
    for row in connection.execute(_LATEST, {"watch": watch, "limit": TIMELINE}):
        size += len(row.body)
        yield row
        if size > TIMELINE_BYTES:
            return


def _first(connection: Connection, watch: int) -> int:
    [first] = connection.execute(_FIRST, {"watch": watch}).scalars()
    return int(first)


# -- items


def _watch(row: Any) -> WatchRow:
    return {
        "pk": row.pk,
        "source": row.source,
        "id": row.id,
        "phase": row.phase,
        "state": row.state,
        "sequence": row.sequence,
        "labels": {} if row.labels == "{}" else json.loads(row.labels),  # as most are, in pages of a thousand
        "metadata": {} if row.metadata in ("{}", "null") else json.loads(row.metadata),  # as in a payload
        "endpoints": None if row.endpoints is None else json.loads(row.endpoints),
        "variables": {} if row.variables is None else json.loads(row.variables),
        "traceparent": row.traceparent,
        "callback": row.callback_url and origin(row.callback_url),
        "origin": row.origin,
        "created_at": timestamp(row.created_at),
        "updated_at": timestamp(row.updated_at),
        "changed_at": timestamp(row.changed_at),
        "ended": bool(row.ended),
        "lost": row.lost,
        "owner": None if row.ended else row.owner,
    }


def _event(row: Any, body: Json) -> EventItem:
    data = body["data"]
    return {
        "id": row.id,
        "cursor": str(row.pk),
        "type": row.type,
        "timestamp": timestamp(row.at),
        "source": row.source,
        "task": row.task,
        "sequence": row.sequence,
        "state": data.get("state"),
        "phase": data.get("phase"),
        "previous_state": data.get("previous_state"),
        "previous_phase": data.get("previous_phase"),
    }
