"""The durable memory: watches, events and the outbox, on SQLite or PostgreSQL.

A subject has a file: `watches`, `outbox`, `endpoints`, `callbacks`, `messages` that are edited, `mutes`, `cluster` for
nodes; `store` joins them. `writer` commits groups of `operations`, by a `transaction` of the `node` that owns them;
`reader` reads beside it, `lists` and `delivery_lists` for people. `schema` has the tables. A subject has its
statements, which `connection` runs; `statements` has those that several share. Those of the hot path are in
`hot_sqlite` and `hot_postgres`, and `hot` and `pipeline` run them; `several` hands SQLite many rows in few calls.
`sqlite`, with its `lock_file`, and `postgres` open the two databases, and `database` holds either. `values` go in and
out, by `rows`, or to lists as `items`. `recovery` brings deliveries forward, `redating` moves dates with the clock,
`pruning` deletes old rows.

Other rooms import names from here alone. Names that need a database's driver are loaded when they are first asked for:
the commands that only talk to a daemon need none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from notifier.store.items import (
    AttemptItem,
    AttemptOutcome,
    Count,
    DeliveryDetail,
    DeliveryItem,
    DeliveryStatus,
    EventDetail,
    EventItem,
    EventTypeName,
    LostName,
    OriginName,
    PendingCount,
    PhaseName,
    Summary,
    TaskId,
    Timestamp,
    WatchFacts,
    WatchHistory,
    WatchRow,
    WatchRowDetail,
)
from notifier.store.values import (
    BEFORE_ALL,
    CallbackClaim,
    CallbackHealth,
    ChangedEndpoint,
    ClockShift,
    Dead,
    DeliveryClaim,
    DeliveryFilter,
    Done,
    EndpointChange,
    EventFilter,
    Later,
    Leadership,
    Muted,
    NodeList,
    Recovery,
    Settlement,
    Superseded,
    Verdict,
    WatchChanges,
    WatchFilter,
    Written,
)

if TYPE_CHECKING:
    from notifier.store.clock_memory import ClockMemory
    from notifier.store.cluster import Nodes
    from notifier.store.database import migrate
    from notifier.store.listening import listen
    from notifier.store.lists import Lists
    from notifier.store.store import Store

_LATE = {
    "ClockMemory": "clock_memory",
    "Lists": "lists",
    "Nodes": "cluster",
    "Store": "store",
    "listen": "listening",
    "migrate": "database",
}

__all__ = [
    "BEFORE_ALL",
    "AttemptItem",
    "AttemptOutcome",
    "CallbackClaim",
    "CallbackHealth",
    "ChangedEndpoint",
    "ClockMemory",
    "ClockShift",
    "Count",
    "Dead",
    "DeliveryClaim",
    "DeliveryDetail",
    "DeliveryFilter",
    "DeliveryItem",
    "DeliveryStatus",
    "Done",
    "EndpointChange",
    "EventDetail",
    "EventFilter",
    "EventItem",
    "EventTypeName",
    "Later",
    "Leadership",
    "Lists",
    "LostName",
    "Muted",
    "NodeList",
    "Nodes",
    "OriginName",
    "PendingCount",
    "PhaseName",
    "Recovery",
    "Settlement",
    "Store",
    "Summary",
    "Superseded",
    "TaskId",
    "Timestamp",
    "Verdict",
    "WatchChanges",
    "WatchFacts",
    "WatchFilter",
    "WatchHistory",
    "WatchRow",
    "WatchRowDetail",
    "Written",
    "listen",
    "migrate",
]


def __getattr__(name: str) -> Any:
    """Load a name that other modules are needed for."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
    return value
