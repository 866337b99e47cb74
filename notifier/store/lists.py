"""Lists for people and programs: watches, events and deliveries, in pages that stay put while rows are added.

A page begins at a primary key, which grows with each row. A row that is added while somebody turns pages comes before
the first page or after the last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, TextClause, func, select, text, true

from notifier.core.callback import origin
from notifier.core.model import Json, Micros
from notifier.core.payload import timestamp
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
from notifier.store.keys import settled
from notifier.store.reader import Reader
from notifier.store.schema import callbacks, events, watches
from notifier.store.values import DeliveryFilter, EventFilter, WatchFilter

TIMELINE = 200  # events shown with one watch, the latest
TIMELINE_BYTES = 4 << 20  # of their payloads

_WATCHES = select(
    watches,
    select(callbacks.c.url).where(callbacks.c.name == watches.c.callback).scalar_subquery().label("callback_url"),
)
_WANTED = watches.c.removed_at.is_(None)  # the condition of the indexes for lists
_GOING_ON = text("NOT ended")  # the condition of the index for watches that go on
_EVENTS = select(events, watches.c.source, watches.c.id.label("task")).outerjoin(
    watches, watches.c.pk == events.c.watch
)


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
    query = _WATCHES.where(*_watch_conditions(which)).order_by(watches.c.pk.desc()).limit(limit)
    if before is not None:
        query = query.where(watches.c.pk < before)
    return [_watch(row) for row in connection.execute(query)]


def _watch_detail(connection: Connection, source: str, task_id: str) -> WatchRowDetail | None:
    """Show a watch with its latest events, oldest first, and their deliveries."""
    query = _WATCHES.where(watches.c.source == source, watches.c.id == task_id, _WANTED)
    row = connection.execute(query).one_or_none()
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
    order = events.c.pk.desc() if after is None else events.c.pk
    query = _EVENTS.where(*_event_conditions(which)).order_by(order).limit(limit)
    if in_order or after is not None:
        query = query.where(*settled(connection))
    if before is not None:
        query = query.where(events.c.pk < before)
    if after is not None:
        query = query.where(events.c.pk > after)
    return [_event(row, json.loads(row.body)) for row in connection.execute(query)]


# -- conditions


def _watch_conditions(which: WatchFilter) -> Iterator[ColumnElement[bool] | TextClause]:
    if not which.removed:
        yield _WANTED
    if which.source is not None:
        yield watches.c.source == which.source
    if which.id is not None:
        yield watches.c.id == which.id
    match which.phase:
        case None:
            pass
        case "new":
            yield watches.c.phase.is_(None)
            yield watches.c.lost.is_(None)
        case "lost":
            yield watches.c.ended == true()
            yield watches.c.lost.is_not(None)
        case phase:
            yield watches.c.phase == phase
            yield watches.c.lost.is_(None)  # as in the counts: each watch is in one phase
    if which.state is not None:
        yield watches.c.state == which.state
    if which.ended is not None:
        yield watches.c.ended == true() if which.ended else _GOING_ON
    if which.text is not None:
        yield watches.c.id.icontains(which.text, autoescape=True)
    for key, value in which.labels:
        yield _labelled(key, value)


def _labelled(key: str, value: str) -> ColumnElement[bool]:
    """Return the condition that the stored JSON text of the labels contains a label, the same for both databases.

    It is exact: beside a comma or the first brace a quotation mark is JSON's own, since one inside a text follows a
    backslash.
    """
    pair = f"{json.dumps(key)}: {json.dumps(value)}"
    opened = "{" + pair
    is_first = func.substr(watches.c.labels, 1, len(opened)) == opened
    return is_first | (func.replace(watches.c.labels, f", {pair}", "") != watches.c.labels)


def _event_conditions(which: EventFilter) -> Iterator[ColumnElement[bool]]:
    if which.type is not None:
        yield events.c.type == which.type
    if which.task is not None:
        of_task = select(watches.c.pk).where(watches.c.id == which.task)
        if which.source is not None:
            of_task = of_task.where(watches.c.source == which.source)
        yield events.c.watch.in_(of_task)
    elif which.source is not None:
        # Events without a watch have source "". Beginning with the watches would mean to sort all of their events.
        yield func.coalesce(watches.c.source, "") == which.source


def _latest(connection: Connection, watch: int) -> Iterator[Row[Any]]:
    """Yield the latest events, newest first, up to TIMELINE and TIMELINE_BYTES."""
    size = 0
    rows = connection.execute(_EVENTS.where(events.c.watch == watch).order_by(events.c.sequence.desc()).limit(TIMELINE))
    for row in rows:
        size += len(row.body)
        yield row
        if size > TIMELINE_BYTES:
            return


def _first(connection: Connection, watch: int) -> int:
    first = connection.execute(select(func.min(events.c.sequence)).where(events.c.watch == watch)).scalar_one()
    return int(first)


# -- items


def _watch(row: Row[Any]) -> WatchRow:
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


def _event(row: Row[Any], body: Json) -> EventItem:
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
