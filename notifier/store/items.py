"""The JSON objects that the store's lists are made of, typed for those who make them and those who pass them on.

Times named in a comment as text are RFC 3339, UTC, with microseconds.
"""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict  # the standard library's cannot be read by pydantic before Python 3.12

from notifier.core.model import Json, Micros

PhaseName = Literal["queued", "running", "succeeded", "failed", "canceled"]
OriginName = Literal["file", "api", "queue"]
LostName = Literal["not_found", "refused", "deadline", "unreadable"]
DeliveryStatus = Literal["ready", "waiting", "delivered", "dead", "superseded"]
AttemptOutcome = Literal["delivered", "failed", "rejected", "gone"]
EventTypeName = Literal[
    "task.state_changed",
    "task.succeeded",
    "task.failed",
    "task.canceled",
    "watch.lost",
    "watch.stalled",
    "endpoint.disabled",
    "endpoint.recovered",
    "notifier.reload_failed",
]


class WatchItem(TypedDict):
    """A watch in a list."""

    pk: int  # where a page ends, for `before`
    source: str
    id: str
    phase: PhaseName | None  # None: nothing was observed yet
    state: str | None  # the provider's word
    sequence: int  # of the last event
    labels: dict[str, str]
    metadata: Json
    endpoints: list[str] | None  # None: every endpoint that matches
    callback: str | None  # scheme and host of its own destination
    origin: OriginName
    created_at: str  # times are text
    updated_at: str
    changed_at: str  # when the state changed last
    ended: bool
    lost: LostName | None  # why it was given up
    owner: int | None  # the number of the node that follows it


class DeliveryItem(TypedDict):
    """A delivery in a list."""

    id: int
    event_id: str
    type: EventTypeName
    endpoint: str
    source: str | None  # None: the event is about no watch
    task: str | None  # the watch's id
    sequence: int
    status: DeliveryStatus
    attempt: int  # attempts made so far, those that count
    reason: str | None  # of the last failure
    manual: bool  # retried by hand
    created_at: str  # times are text
    due: str | None  # of the next attempt; None once it is settled
    settled_at: str | None


class AttemptItem(TypedDict):
    """One attempt at a delivery."""

    at: str  # text
    outcome: AttemptOutcome
    reason: str | None
    detail: str | None
    status: int | None  # of the HTTP reply
    seconds: float
    phases: dict[str, float]  # seconds by part of the exchange
    address: str | None
    reply: str | None  # its beginning
    retry_after: float | None  # seconds that the endpoint asked for


class DeliveryDetail(DeliveryItem):
    """A delivery with its body and its attempts, oldest first."""

    payload: Json
    attempts: list[AttemptItem]


class EventItem(TypedDict):
    """An event in a list."""

    id: str  # the `webhook-id` of its callbacks
    cursor: str  # where a page ends, for `before` and `after`
    type: EventTypeName
    timestamp: str
    source: str | None  # None: it is about no watch
    task: str | None  # the watch's id
    sequence: int
    state: str | None
    phase: PhaseName | None
    previous_state: str | None
    previous_phase: PhaseName | None


class EventDetail(EventItem):
    """An event with its body and its deliveries, oldest first."""

    payload: Json
    deliveries: list[DeliveryItem]


class WatchDetail(WatchItem):
    """A watch with its latest events, oldest first."""

    events: list[EventDetail]
    more: bool  # there are earlier events


class PendingCount(TypedDict):
    """The deliveries of an endpoint that are not settled."""

    count: int
    oldest: Micros  # when the oldest of them was created


class Summary(TypedDict):
    """Counts of rows. The destinations of callbacks count as one endpoint, see `core.callback.LABEL`."""

    watches: dict[str, dict[str, int]]  # by source, then by phase: also `new` (nothing was observed yet) and `lost`
    pending: dict[str, PendingCount]  # by endpoint
    dead: dict[str, int]  # by endpoint
