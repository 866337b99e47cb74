"""PostgreSQL's wording of the hot path: one statement for all rows of a group, instead of one a row.

Each has the effect of its namesake in `statements`, run for one row after the other. But it sees the table as it was
before the first row, so the parameters say what a later row would have seen: `_behind` says that another delivery of
the lane is inserted before.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    FromClause,
    Select,
    Table,
    Text,
    bindparam,
    case,
    false,
    func,
    insert,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy import null as sql_null
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import TypeEngine

from notifier.store.keys import EventKey
from notifier.store.schema import READY, WAITING, attempts, deliveries, events, in_lane, is_open, superseded, watches


def _given(**columns: TypeEngine[Any] | type[TypeEngine[Any]]) -> FromClause:
    """Return the given rows as a table; each column is the array parameter of its name."""
    arrays = [bindparam(name, type_=ARRAY(kind)) for name, kind in columns.items()]
    named = [Column(name, kind) for name, kind in columns.items()]
    return func.unnest(*arrays).table_valued(*named, name="given").render_derived()


def _as(table: Table, *names: str) -> dict[str, TypeEngine[Any]]:
    return {name: table.c[name].type for name in names or table.c.keys()}


def _surely(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition in words that fit no index, which the planner would read whole if it has no statistics."""
    return case((condition, true()), else_=false())


_step = ("state", "phase", "sequence", "changed_at", "last_event_id", "stalled", "ended", "lost", "updated_at")
_steps = _given(_pk=BigInteger(), _before=BigInteger(), **_as(watches, *_step))
STEP_WATCH = (
    update(watches)
    .where(
        watches.c.pk == _steps.c._pk,
        watches.c.sequence == _steps.c._before,
        watches.c.owner == bindparam("_me", type_=BigInteger),
        _surely(watches.c.removed_at.is_(None)),
    )
    .values({name: _steps.c[name] for name in _step})
)

_event = _given(**_as(events))
INSERT_EVENTS = insert(events).from_select(
    events.c.keys(),
    select(*(EventKey(_event.c.pk) if name == "pk" else _event.c[name] for name in events.c.keys())),  # noqa: SIM118 - the columns themselves would be compared as SQL
)

_new = _given(
    id=BigInteger(),
    event=BigInteger(),
    lane=BigInteger(),
    endpoint=Text(),
    sequence=BigInteger(),
    due=BigInteger(),
    _owner=BigInteger(),
    _behind=Boolean(),
)
# Lanes are looked up one by one, by subqueries with a limit. Otherwise the planner, without statistics, takes open
# deliveries for rare and reads all of them.
_of_lane = deliveries.alias("of_lane")
_ahead = (
    select(literal_column("true", Boolean).label("found"))
    .where(in_lane(_of_lane, _new.c.endpoint, _new.c.lane))
    .limit(literal_column("1"))
    .lateral("ahead")
)
_waits = _new.c._behind | _ahead.c.found
_delivery = {
    "id": _new.c.id,
    "event": EventKey(_new.c.event),
    "lane": _new.c.lane,
    "endpoint": _new.c.endpoint,
    "sequence": _new.c.sequence,
    "status": case((_waits, WAITING), else_=READY),
    "attempt": literal_column("0"),
    "due": _new.c.due,
    "created_at": _new.c.due,
    "manual": false(),
    "owner": case((_waits, sql_null()), else_=_new.c._owner),
}
INSERT_DELIVERIES = insert(deliveries).from_select(
    list(_delivery), select(*_delivery.values()).select_from(_new.outerjoin(_ahead, true()))
)

_newer = _given(_endpoint=Text(), _lane=BigInteger(), _now=BigInteger())
_open = select(_of_lane.c.id).where(in_lane(_of_lane, _newer.c._endpoint, _newer.c._lane))


def _supersede(chosen: Select[Any]) -> ClauseElement:
    """Return the statement that supersedes the chosen deliveries of each lane."""
    each = chosen.lateral("each")
    old = select(each.c.id, _newer.c._now).select_from(_newer.join(each, true())).subquery("old")
    return (
        update(deliveries)
        # Asked again of the row itself: a node may claim it at this moment, and claims lock no watch.
        .where(deliveries.c.id == old.c.id, _surely(is_open(deliveries)), _surely(deliveries.c.owner.is_(None)))
        .values(superseded(old.c._now))
    )


SUPERSEDE = _supersede(_open.where(_of_lane.c.owner.is_(None)).offset(literal_column("0")))
OVERTAKE = _supersede(_open.order_by(_of_lane.c.sequence.desc()).offset(literal_column("1")))

_verdict = ("status", "attempt", "due", "settled_at", "reason")
_settled = _given(_id=BigInteger(), **_as(deliveries, *_verdict))
SETTLE = (
    update(deliveries)
    .where(deliveries.c.id == _settled.c._id, deliveries.c.owner == bindparam("_me", type_=BigInteger))
    .values({name: _settled.c[name] for name in _verdict} | {"owner": sql_null()})
)

_tried = _given(**_as(attempts))
INSERT_ATTEMPTS = postgresql.insert(attempts).from_select(attempts.c.keys(), select(*_tried.c)).on_conflict_do_nothing()

_freed = _given(_endpoint=Text(), _lane=BigInteger(), _due=BigInteger(), _owner=BigInteger())
_first = (
    select(_of_lane.c.id, _of_lane.c.event)
    .where(in_lane(_of_lane, _freed.c._endpoint, _freed.c._lane))
    .order_by(_of_lane.c.sequence)
    .limit(literal_column("1"))
    .lateral("first")
)
_next = (
    select(_first.c.id, _first.c.event, _freed.c._due, _freed.c._owner)
    .select_from(_freed.join(_first, true()))
    .subquery("next")
)


def promote(*found: Any) -> ClauseElement:
    """Return the statement that makes the first waiting delivery of each lane ready, and returns these columns."""
    return (
        update(deliveries)
        .where(deliveries.c.id == _next.c.id, _surely(deliveries.c.status == WAITING), events.c.pk == _next.c.event)
        .values(status=READY, due=_next.c._due, owner=_next.c._owner)
        .returning(*found)
    )
