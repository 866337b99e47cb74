"""The JSON objects of the store's lists, as types for the code and for the API's document.

The descriptions are those of the OpenAPI document. Nothing is validated by these types at run time.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict  # the standard library's cannot be read by pydantic before Python 3.12

from notifier.core.model import Micros

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="RFC 3339, UTC, microseconds")]
TaskId = Annotated[str, Field(min_length=1, max_length=512)]
Count = Annotated[int, Field(ge=0)]
PhaseName = Literal["queued", "running", "succeeded", "failed", "canceled"]
OriginName = Literal["file", "api", "queue"]
LostName = Literal["not_found", "refused", "deadline", "unreadable"]
DeliveryStatus = Literal["ready", "waiting", "delivered", "dead", "superseded", "muted"]
AttemptOutcome = Literal["delivered", "failed", "rejected", "gone"]
EventTypeName = Literal[
    "task.state_changed",
    "task.succeeded",
    "task.failed",
    "task.canceled",
    "watch.lost",
    "watch.stalled",
    "endpoint.failing",
    "endpoint.disabled",
    "endpoint.recovered",
    "source.failing",
    "source.recovered",
    "notifier.reload_failed",
]


class WatchFacts(TypedDict):
    """The facts of a watch that every node knows."""

    source: str
    id: TaskId
    phase: Annotated[PhaseName | None, Field(description="null before the first observation")]
    state: Annotated[str | None, Field(description="the provider's own word")]
    sequence: Annotated[Count, Field(description="of the last event")]
    labels: dict[str, str]
    metadata: Annotated[Any, Field(description="any JSON value; {}: none was given")]
    endpoints: Annotated[list[str] | None, Field(description="null: all whose match accepts it")]
    variables: Annotated[dict[str, str], Field(description="its own values for what the source's URL names")]
    traceparent: Annotated[str | None, Field(description="of who submitted the task; sent on with callbacks")]
    callback: Annotated[str | None, Field(description="scheme and host of its own callback URL; null: it has none")]
    origin: OriginName
    created_at: Timestamp
    updated_at: Timestamp
    changed_at: Annotated[Timestamp, Field(description="when the state changed last")]
    ended: Annotated[bool, Field(description="nothing more will happen")]
    lost: Annotated[LostName | None, Field(description="why it was given up")]


class WatchRow(WatchFacts):
    """A watch in a list of the store."""

    pk: int  # where a page ends, for `before`
    owner: int | None  # the number of the node that follows it


class DeliveryItem(TypedDict):
    """An event on its way to an endpoint."""

    id: Count
    event_id: str
    type: EventTypeName
    endpoint: str
    callback: Annotated[str | None, Field(description="scheme and host of a watch's own callback; null: it is none")]
    source: Annotated[str | None, Field(description="null: the event is about no watch")]
    task: Annotated[str | None, Field(description="the watch's id")]
    sequence: Count
    status: DeliveryStatus
    attempt: Annotated[Count, Field(description="attempts so far that count")]
    reason: Annotated[str | None, Field(description="of the last failure")]
    manual: Annotated[bool, Field(description="retried by hand")]
    created_at: Timestamp
    due: Annotated[Timestamp | None, Field(description="time of the next attempt; null: it is settled")]
    settled_at: Timestamp | None


class AttemptItem(TypedDict):
    """One attempt at a delivery."""

    at: Timestamp
    outcome: AttemptOutcome
    reason: str | None
    detail: str | None
    status: Annotated[int | None, Field(description="of the reply; null: there was no reply")]
    seconds: float
    phases: Annotated[dict[str, float], Field(description="seconds of each phase")]
    address: str | None
    reply: Annotated[str | None, Field(description="its first characters")]
    retry_after: Annotated[float | None, Field(description="seconds that the endpoint asked to wait")]


class DeliveryDetail(DeliveryItem):
    """A delivery with its payload and its attempts, oldest first."""

    payload: Any
    attempts: list[AttemptItem]


class EventItem(TypedDict):
    """An event."""

    id: Annotated[str, Field(description="the `webhook-id` of its callbacks")]
    cursor: Annotated[str, Field(description="larger for each later event; for `after`")]
    type: EventTypeName
    timestamp: Timestamp
    source: Annotated[str | None, Field(description="null: the event is about no watch")]
    task: Annotated[str | None, Field(description="the watch's id")]
    sequence: Count
    state: str | None
    phase: PhaseName | None
    previous_state: str | None
    previous_phase: PhaseName | None


class EventDetail(EventItem):
    """An event with its payload and its deliveries, oldest first."""

    payload: Any
    deliveries: list[DeliveryItem]


class WatchHistory(TypedDict):
    """The latest events of a watch."""

    events: Annotated[list[EventDetail], Field(description="the latest events, oldest first")]
    more: Annotated[bool, Field(description="there are earlier events")]


class WatchRowDetail(WatchRow, WatchHistory):
    """A watch of the store with its latest events."""


class PendingCount(TypedDict):
    """The deliveries of an endpoint that are not settled."""

    count: int
    oldest: Micros  # when the oldest of them was created


class Summary(TypedDict):
    """Counts of rows. The destinations of callbacks count as one endpoint, see `core.callback.LABEL`."""

    watches: dict[str, dict[str, int]]  # by source, then by phase: also `new` (nothing was observed yet) and `lost`
    pending: dict[str, PendingCount]  # by endpoint
    dead: dict[str, int]  # by endpoint
    lost: dict[str, dict[str, int]]  # watches that were given up lately, by source and reason
