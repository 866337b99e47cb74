"""Statements on deliveries that several modules share, for both databases. Those of the hot path are in `hot.py`."""

from __future__ import annotations

from sqlalchemy import (
    and_,
    bindparam,
    case,
    exists,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy import null as sql_null

from notifier.store.schema import IS_DEAD as IS_DEAD
from notifier.store.schema import IS_FOLLOWED as IS_FOLLOWED
from notifier.store.schema import READY, WAITING, counters, deliveries, events, in_lane, watches
from notifier.store.schema import is_open as is_open

TAKE_IDS = (
    update(counters)
    .where(counters.c.name == bindparam("counter"))
    .values(value=counters.c.value + bindparam("count"))
    .returning(counters.c.value)
)

FREE_WATCHES = update(watches).where(watches.c.owner.is_not(None)).values(owner=sql_null())
FREE_DELIVERIES = (
    update(deliveries).where(is_open(deliveries), deliveries.c.owner.is_not(None)).values(owner=sql_null())
)

# -- the outbox

_FOUND = select(
    deliveries.c.id,
    deliveries.c.endpoint,
    deliveries.c.lane,
    deliveries.c.attempt,
    events.c.id.label("event_id"),
    events.c.type,
    events.c.body,
    events.c.at,
    events.c.traceparent,
).join(events, events.c.pk == deliveries.c.event)

_first = deliveries.alias("first")
_due = and_(deliveries.c.status == READY, deliveries.c.owner.is_(None), deliveries.c.endpoint == bindparam("_endpoint"))

_claimable_deliveries = (
    select(deliveries.c.id)
    .where(_due, deliveries.c.due <= bindparam("_now"))
    .order_by(deliveries.c.due, deliveries.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
    .cte("claimable")
)
CLAIM_DELIVERIES = (
    update(deliveries)
    .where(deliveries.c.id.in_(select(_claimable_deliveries.c.id)))
    .values(owner=bindparam("_me"))
    .returning(deliveries.c.id)
)

# Not min(): without statistics PostgreSQL reads every row that is ready for it.
NEXT_DUE = select(deliveries.c.due).where(_due).order_by(deliveries.c.due, deliveries.c.id).limit(1)

LOAD_DELIVERIES = _FOUND.where(deliveries.c.id.in_(bindparam("ids", expanding=True))).order_by(
    deliveries.c.due, deliveries.c.id
)

REVIVE = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("_id"), IS_DEAD)
    .values(
        status=case(
            (
                exists().where(in_lane(_first, deliveries.c.endpoint, deliveries.c.lane)),
                WAITING,
            ),
            else_=READY,
        ),
        due=bindparam("_now"),
        attempt=literal_column("0"),
        settled_at=sql_null(),
        manual=true(),
        owner=sql_null(),
    )
)
