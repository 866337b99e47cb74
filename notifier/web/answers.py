"""Answers as types, for the code that builds them and for the OpenAPI document. A test holds the replies to it.

Nothing is validated when a reply is sent: lists of a thousand items would pay for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

TIME: Mapping[str, Any] = {"type": "string", "format": "date-time", "description": "RFC 3339, UTC, microseconds"}
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="RFC 3339, UTC, microseconds")]
PhaseName = Literal["queued", "running", "succeeded", "failed", "canceled"]
StatusName = Literal["ready", "waiting", "delivered", "dead", "superseded"]
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
LostName = Literal["not_found", "refused", "deadline", "unreadable"]
OutcomeName = Literal["delivered", "failed", "rejected", "gone"]
NextCursor = Annotated[str, Field(description="`cursor` of the next page; null: this is the last page")]
TaskId = Annotated[str, Field(min_length=1, max_length=512)]
Count = Annotated[int, Field(ge=0)]


class Problem(TypedDict):
    """One problem (RFC 9457)."""

    type: Annotated[str, Field(description="`about:blank`")]
    title: str
    status: int
    detail: str


class Problems(Problem):
    """Every problem of a request."""

    problems: Annotated[list[str], Field(description="each with its place and its message")]


class Watch(TypedDict):
    """A task being followed."""

    source: str
    id: TaskId
    phase: Annotated[PhaseName | None, Field(description="null before the first observation")]
    state: Annotated[str | None, Field(description="the provider's own word")]
    sequence: Annotated[Count, Field(description="of the last event")]
    labels: dict[str, str]
    metadata: Any
    endpoints: Annotated[list[str] | None, Field(description="null: all whose match accepts it")]
    callback: Annotated[str | None, Field(description="scheme and host of its own callback URL; null: it has none")]
    origin: Literal["file", "api", "queue"]
    created_at: Time
    updated_at: Time
    changed_at: Annotated[Time, Field(description="when the state changed last")]
    ended: Annotated[bool, Field(description="nothing more will happen")]
    lost: Annotated[LostName | None, Field(description="why it was given up")]
    node: Annotated[str | None, Field(description="the node that follows it; null: no node does")]
    connected: Annotated[bool | None, Field(description="its stream is open; null: only its node knows")]


class Watches(TypedDict):
    """A page of watches, newest first."""

    items: list[Watch]
    next: NextCursor | None


class AddedWatch(TypedDict):
    """One entry of a request to add watches."""

    source: str
    id: TaskId
    created: Annotated[bool, Field(description="false: it was there already, and nothing was changed")]


class AddedWatches(TypedDict):
    """The result of a list, in its order."""

    items: list[AddedWatch]
    created: Count
    existing: Count


class Event(TypedDict):
    """An event."""

    id: Annotated[str, Field(description="the `webhook-id` of its callbacks")]
    cursor: Annotated[str, Field(description="larger for each later event; for `after`")]
    type: EventTypeName
    timestamp: Time
    source: Annotated[str | None, Field(description="null: the event is about no watch")]
    task: Annotated[str | None, Field(description="the watch's id")]
    sequence: Count
    state: str | None
    phase: PhaseName | None
    previous_state: str | None
    previous_phase: PhaseName | None


class Events(TypedDict):
    """A page of events."""

    items: list[Event]
    next: NextCursor | None


class Delivery(TypedDict):
    """An event on its way to an endpoint."""

    id: Count
    event_id: str
    type: EventTypeName
    endpoint: str
    source: str | None
    task: str | None
    sequence: Count
    status: StatusName
    attempt: Annotated[Count, Field(description="attempts so far that count")]
    reason: Annotated[str | None, Field(description="of the last failure")]
    manual: Annotated[bool, Field(description="retried by hand")]
    created_at: Time
    due: Annotated[Time | None, Field(description="time of the next attempt; null: it is settled")]
    settled_at: Time | None


class Deliveries(TypedDict):
    """A page of deliveries, newest first."""

    items: list[Delivery]
    next: NextCursor | None


class Attempt(TypedDict):
    """One try at a delivery."""

    at: Time
    outcome: OutcomeName
    reason: str | None
    detail: str | None
    status: Annotated[int | None, Field(description="of the reply; null: there was no reply")]
    seconds: float
    phases: Annotated[dict[str, float], Field(description="seconds of each phase")]
    address: str | None
    reply: Annotated[str | None, Field(description="its first characters")]
    retry_after: Annotated[float | None, Field(description="seconds that the endpoint asked to wait")]


class DeliveryDetails(Delivery):
    """A delivery with its attempts."""

    payload: Any
    attempts: list[Attempt]


class EventDetails(Event):
    """An event with its deliveries."""

    payload: Any
    deliveries: list[Delivery]


class Connection(TypedDict):
    """The state of a watch's subscription."""

    open: bool
    failures: Annotated[Count, Field(description="in a row")]
    trouble: Annotated[LostName | None, Field(description="the reason for which it is given up if the trouble lasts")]


class WatchDetails(Watch):
    """A watch with its events."""

    events: Annotated[list[EventDetails], Field(description="the latest events, oldest first")]
    more: Annotated[bool, Field(description="there are earlier events")]
    connection: Annotated[Connection | None, Field(description="null: only the node that follows it knows")]


class EndpointHealth(TypedDict):
    """The health of an endpoint."""

    name: str
    state: Literal["closed", "throttled", "open", "half_open", "disabled"]
    reason: Annotated[str | None, Field(description="why it is disabled")]
    in_flight: Count
    pending: Count
    oldest_seconds: float
    dead: Count


class Endpoint(EndpointHealth):
    """An endpoint with its health."""

    type: str
    url: Annotated[str, Field(description="scheme and host only: the rest may be secret")]


class Endpoints(TypedDict):
    """All endpoints."""

    items: list[Endpoint]
    next: None


class Enabled(TypedDict):
    """Whether an endpoint is enabled."""

    endpoint: str
    enabled: bool


class TestResult(TypedDict):
    """The result of a test event."""

    outcome: OutcomeName
    status: Annotated[int | None, Field(description="of the reply; null: there was no reply")]
    seconds: float
    reason: str | None
    detail: str | None
    reply: Annotated[str, Field(description="its first characters")]


class Retried(TypedDict):
    """The number of deliveries that are sent again."""

    retried: Count


class Reloaded(TypedDict):
    """The configuration was loaded."""

    reloaded: Literal[True]
    node: NotRequired[Annotated[str, Field(description="the node that loaded it, if there are several")]]
    others: NotRequired[Annotated[Count, Field(description="nodes that still have to be asked")]]


class SourceStatus(TypedDict):
    """The state of a source."""

    name: str
    watches: Annotated[
        dict[str, Count],
        Field(description="by phase; `new`: not observed yet; `lost`: given up"),
    ]
    following: Annotated[Count, Field(description="watches followed, by all nodes")]
    open: Annotated[Count, Field(description="open streams, of all nodes")]


class StoreStatus(TypedDict):
    """The state of the store."""

    available: bool


class CallbacksStatus(TypedDict):
    """The state of all callbacks of watches together."""

    enabled: bool
    pending: Count
    oldest_seconds: float
    dead: Count


class DaemonStatus(TypedDict):
    """The daemon at a glance."""

    version: str
    node: Annotated[str, Field(description="the node that answers; the keys up to `store` are about it")]
    number: Annotated[Count, Field(description="number of the node")]
    nodes: Annotated[Count, Field(description="living nodes that share the store")]
    pid: int
    uptime_seconds: float
    ready: bool
    reason: str | None
    config: str
    store: StoreStatus
    sources: list[SourceStatus]
    endpoints: list[EndpointHealth]
    callbacks: CallbacksStatus


class Node(TypedDict):
    """A daemon as it was about a second ago; null: it has not reported that value."""

    number: Annotated[Count, Field(description="never used again")]
    name: str
    version: str
    started_at: Time
    seen_at: Annotated[Time, Field(description="time of its last heartbeat")]
    timeout_seconds: Annotated[float, Field(description="silence after which the other nodes take over")]
    alive: Annotated[bool | None, Field(description="null: this node has lost contact with the store and cannot know")]
    leaving: Annotated[bool, Field(description="it has released its watches and stops")]
    this: Annotated[bool, Field(description="it is the node that answers")]
    watches: Annotated[Count, Field(description="watches that it follows")]
    host: str | None
    pid: int | None
    http: Annotated[str | None, Field(description="the address on which it listens")]
    ready: bool | None
    reason: Annotated[str | None, Field(description="why it is not ready")]
    streams: Annotated[Count | None, Field(description="open streams")]
    deliveries: Annotated[Count | None, Field(description="deliveries in flight")]
    events_per_second: float | None
    deliveries_per_second: float | None


class Nodes(TypedDict):
    """All nodes."""

    items: list[Node]
    next: None
