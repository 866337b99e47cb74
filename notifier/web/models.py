"""What is answered over HTTP, as types. The OpenAPI document is made of them; a test holds replies to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, description="RFC 3339, UTC, microseconds")]
Phase = Literal["queued", "running", "succeeded", "failed", "canceled"]
Status = Literal["ready", "waiting", "delivered", "dead", "superseded"]
Type = Literal[
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
Lost = Literal["not_found", "refused", "deadline", "unreadable"]
Cursor = Annotated[str, Field(description="where the next page begins, for `cursor`; null: this is the last")]
TaskId = Annotated[str, Field(min_length=1, max_length=512)]
Count = Annotated[int, Field(ge=0)]


class _Answered(BaseModel):
    model_config = ConfigDict(defer_build=True)  # at the start nobody asks for the document


class Problem(_Answered):
    """What is wrong, by RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class Problems(Problem):
    """All that is wrong with what was sent."""

    problems: list[str] = Field(description="one a line: where, and what")


class Watch(_Answered):
    """A task being followed."""

    source: str
    id: TaskId
    phase: Phase | None = Field(description="null before the first observation")
    state: str | None = Field(description="the provider's own word")
    sequence: Count = Field(description="of the last event")
    labels: dict[str, str]
    metadata: Any
    endpoints: list[str] | None = Field(description="null: all whose match accepts it")
    callback: str | None = Field(description="scheme and host of its own URL, told besides; null: it has none")
    origin: Literal["file", "api", "queue"]
    created_at: Time
    updated_at: Time
    changed_at: Time = Field(description="when the state changed last")
    ended: bool = Field(description="nothing more will happen")
    lost: Lost | None = Field(description="why it was given up")
    node: str | None = Field(description="who follows it; null: nobody, for now or any more")
    connected: bool | None = Field(description="its stream is open; null: another node follows it, and knows")


class Watches(_Answered):
    """A page of watches, newest first."""

    items: list[Watch]
    next: Cursor | None


class AddedWatch(_Answered):
    """One of those that were to be followed."""

    source: str
    id: TaskId
    created: bool = Field(description="false: it was followed already, and nothing was changed")


class AddedWatches(_Answered):
    """What became of a list, in its order."""

    items: list[AddedWatch]
    created: Count
    existing: Count


class Event(_Answered):
    """What happened."""

    id: str = Field(description="the `webhook-id` of its callbacks")
    cursor: str = Field(description="grows from event to event; for `after`")
    type: Type
    timestamp: Time
    source: str | None = Field(description="null: it is about no watch")
    task: str | None = Field(description="the watch's id")
    sequence: Count
    state: str | None
    phase: Phase | None
    previous_state: str | None
    previous_phase: Phase | None


class Events(_Answered):
    """A page of events."""

    items: list[Event]
    next: Cursor | None


class Delivery(_Answered):
    """An event on its way to an endpoint."""

    id: Count
    event_id: str
    type: Type
    endpoint: str
    source: str | None
    task: str | None
    sequence: Count
    status: Status
    attempt: Count = Field(description="attempts made so far, those that count")
    reason: str | None = Field(description="of the last failure")
    manual: bool = Field(description="retried by hand")
    created_at: Time
    due: Time | None = Field(description="of the next attempt; null once it is settled")
    settled_at: Time | None


class Deliveries(_Answered):
    """A page of deliveries, newest first."""

    items: list[Delivery]
    next: Cursor | None


class Attempt(_Answered):
    """One try at a delivery."""

    at: Time
    outcome: Literal["delivered", "failed", "rejected", "gone"]
    reason: str | None
    detail: str | None
    status: int | None = Field(description="of the reply; null: there was none")
    seconds: float
    phases: dict[str, float] = Field(description="seconds by part")
    address: str | None
    reply: str | None = Field(description="its beginning")
    retry_after: float | None = Field(description="seconds that the endpoint asked for")


class DeliveryTold(Delivery):
    """A delivery with its attempts."""

    payload: Any
    attempts: list[Attempt]


class EventTold(Event):
    """An event with what became of it."""

    payload: Any
    deliveries: list[Delivery]


class Connection(_Answered):
    """How a watch's subscription does."""

    open: bool
    failures: Count = Field(description="in a row")
    trouble: Lost | None = Field(description="what it will be given up for, if that lasts")


class WatchTold(Watch):
    """A watch with what happened to it."""

    events: list[EventTold] = Field(description="the latest, oldest of them first")
    more: bool = Field(description="there are earlier events")
    connection: Connection | None = Field(description="null: another node follows it, and knows")


class EndpointHealth(_Answered):
    """How an endpoint does."""

    name: str
    state: Literal["closed", "throttled", "open", "half_open", "disabled"]
    reason: str | None = Field(description="why it is disabled")
    in_flight: Count
    pending: Count
    oldest_seconds: float
    dead: Count


class Endpoint(EndpointHealth):
    """An endpoint."""

    type: str
    url: str = Field(description="scheme and host alone: the rest may be secret")


class Endpoints(_Answered):
    """All endpoints."""

    items: list[Endpoint]
    next: None


class Enabled(_Answered):
    """Whether an endpoint is sent to."""

    endpoint: str
    enabled: bool


class Tested(_Answered):
    """What became of a test event."""

    outcome: Literal["delivered", "failed", "rejected", "gone"]
    status: int | None = Field(description="of the reply; null: there was none")
    seconds: float
    reason: str | None
    detail: str | None
    reply: str = Field(description="its beginning")


class Retried(_Answered):
    """How many deliveries go out again."""

    retried: Count


class Reloaded(_Answered):
    """The configuration was taken."""

    reloaded: Literal[True]
    node: str | None = Field(default=None, description="of several nodes, the one that did it")
    others: Count | None = Field(default=None, description="nodes that go on with what they have: ask each of them")


class SourceStatus(_Answered):
    """How a source does."""

    name: str
    watches: dict[str, Count] = Field(description="by phase; `new` before the first observation, `lost` when given up")
    following: Count = Field(description="watches, by all nodes")
    open: Count = Field(description="streams, of all nodes")


class StoreStatus(_Answered):
    """How the store does."""

    available: bool


class CallbacksStatus(_Answered):
    """How the callbacks of watches do, all together."""

    enabled: bool
    pending: Count
    oldest_seconds: float
    dead: Count


class DaemonStatus(_Answered):
    """The daemon at a glance."""

    version: str
    node: str = Field(description="that answers: what follows is of it, up to `store`")
    number: Count = Field(description="of the node")
    nodes: Count = Field(description="that share the store and live")
    pid: int
    uptime_seconds: float
    ready: bool
    reason: str | None
    config: str
    store: StoreStatus
    sources: list[SourceStatus]
    endpoints: list[EndpointHealth]
    callbacks: CallbacksStatus
