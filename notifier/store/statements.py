"""The SQL of the hot path and of claims of deliveries, written once for both databases.

PostgreSQL has another wording for many rows: see `at_once`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    and_,
    bindparam,
    case,
    exists,
    false,
    insert,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy import null as sql_null
from sqlalchemy.dialects import sqlite

from notifier.store import hot_postgres
from notifier.store.keys import EventKey
from notifier.store.prepared import Prepared
from notifier.store.schema import IS_DEAD as IS_DEAD
from notifier.store.schema import IS_FOLLOWED as IS_FOLLOWED
from notifier.store.schema import READY, WAITING, attempts, counters, deliveries, events, in_lane, superseded, watches
from notifier.store.schema import is_open as is_open

TAKE_IDS = (
    update(counters)
    .where(counters.c.name == bindparam("counter"))
    .values(value=counters.c.value + bindparam("count"))
    .returning(counters.c.value)
)

# -- watches

STEP_WATCH = Prepared(
    update(watches)
    .where(
        watches.c.pk == bindparam("_pk"),
        watches.c.sequence == bindparam("_before"),
        watches.c.owner == bindparam("_me"),
        watches.c.removed_at.is_(None),
    )
    .values(
        {
            name: bindparam(name)
            for name in (
                "state",
                "phase",
                "sequence",
                "changed_at",
                "last_event_id",
                "stalled",
                "ended",
                "lost",
                "updated_at",
            )
        }
    ),
    at_once=hot_postgres.STEP_WATCH,
)

FREE_WATCHES = update(watches).where(watches.c.owner.is_not(None)).values(owner=sql_null())
FREE_DELIVERIES = (
    update(deliveries).where(is_open(deliveries), deliveries.c.owner.is_not(None)).values(owner=sql_null())
)

# -- the outbox

INSERT_EVENTS = Prepared(
    insert(events).values(
        {column.name: bindparam(column.name) for column in events.c if column is not events.c.pk}
        | {"pk": EventKey("pk")}
    ),
    at_once=hot_postgres.INSERT_EVENTS,
)

_ahead = deliveries.alias("ahead")
_occupied = exists().where(in_lane(_ahead, bindparam("endpoint"), bindparam("lane")))
_IN_LANE = in_lane(deliveries, bindparam("_endpoint"), bindparam("_lane"))

INSERT_DELIVERIES = Prepared(
    insert(deliveries).values(
        id=bindparam("id"),
        event=EventKey("event"),
        lane=bindparam("lane"),
        endpoint=bindparam("endpoint"),
        sequence=bindparam("sequence"),
        status=case((_occupied, WAITING), else_=READY),
        attempt=literal_column("0"),
        due=bindparam("due"),
        created_at=bindparam("due"),
        manual=false(),
        owner=case((_occupied, sql_null()), else_=bindparam("_owner", type_=BigInteger)),
    ),
    at_once=hot_postgres.INSERT_DELIVERIES,
)

SUPERSEDE = Prepared(
    update(deliveries)
    .where(
        _IN_LANE,
        deliveries.c.owner.is_(None),
    )
    .values(superseded(bindparam("_now"))),
    at_once=hot_postgres.SUPERSEDE,
)

WHICH_WAIT = Prepared(
    select(deliveries.c.id).where(
        deliveries.c.id.between(bindparam("first"), bindparam("last")), deliveries.c.status == WAITING
    )
)

SETTLE = Prepared(
    update(deliveries)
    .where(deliveries.c.id == bindparam("_id"), deliveries.c.owner == bindparam("_me"))
    .values(
        {name: bindparam(name) for name in ("status", "attempt", "due", "settled_at", "reason")} | {"owner": sql_null()}
    ),
    at_once=hot_postgres.SETTLE,
)

# Of two attempts in the same microsecond, or of one that is saved twice, the first stays.
INSERT_ATTEMPTS = Prepared(sqlite.insert(attempts).on_conflict_do_nothing(), at_once=hot_postgres.INSERT_ATTEMPTS)

_FOUND = select(
    deliveries.c.id,
    deliveries.c.endpoint,
    deliveries.c.lane,
    deliveries.c.attempt,
    events.c.id.label("event_id"),
    events.c.type,
    events.c.body,
    events.c.at,
).join(events, events.c.pk == deliveries.c.event)

_first = deliveries.alias("first")
_newer = deliveries.alias("newer")
# For `ordering: latest`, in a lane without a delivery under way: only the newest stays open.
OVERTAKE = Prepared(
    update(deliveries)
    .where(
        _IN_LANE,
        deliveries.c.owner.is_(None),
        exists().where(
            in_lane(_newer, bindparam("_endpoint"), bindparam("_lane")), _newer.c.sequence > deliveries.c.sequence
        ),
    )
    .values(superseded(bindparam("_now"))),
    at_once=hot_postgres.OVERTAKE,
)
PROMOTE = Prepared(
    update(deliveries)
    .where(
        _IN_LANE,
        deliveries.c.status == WAITING,
        ~exists().where(
            in_lane(_first, bindparam("_endpoint"), bindparam("_lane")), _first.c.sequence < deliveries.c.sequence
        ),
    )
    .values(status=READY, due=bindparam("_due"), owner=bindparam("_owner")),
    at_once=hot_postgres.promote(*_FOUND.selected_columns),
)

PROMOTED = Prepared(
    _FOUND.where(
        _IN_LANE,
        deliveries.c.status == READY,
        deliveries.c.owner == bindparam("_owner"),
    ),
)

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

REVIVE = Prepared(
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
