"""Answers as types, for the code that builds them and for the OpenAPI document. A test holds the replies to it.

Nothing is validated when a reply is sent: lists of a thousand items would pay for it.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from notifier.store import (
    AttemptOutcome,
    Count,
    DeliveryItem,
    EventItem,
    LostName,
    TaskId,
    Timestamp,
    WatchFacts,
    WatchHistory,
)

NextCursor = Annotated[str, Field(description="`cursor` of the next page; null: this is the last page")]


class ProblemDetails(TypedDict):
    """One problem (RFC 9457)."""

    type: Annotated[str, Field(description="`about:blank`")]
    title: str
    status: int
    detail: str


class PlacedProblem(TypedDict):
    """One problem of the configuration, as `notifier check --json` prints it."""

    file: str
    line: Annotated[Count, Field(description="from 1; 0: the whole file, or no file")]
    column: Count
    key: Annotated[str, Field(description="such as `endpoints.app.timeout`; empty: of the whole file")]
    message: str
    suggestion: Annotated[str | None, Field(description="what may be meant in place of an unknown word")]
    excerpt: Annotated[list[str], Field(description="the line, without values, and a mark below the place")]


class InvalidDetails(ProblemDetails):
    """Every problem of a request."""

    problems: Annotated[list[str], Field(description="each with its place and its message")]
    places: NotRequired[Annotated[list[PlacedProblem], Field(description="of a reload: the problems in parts")]]


class WatchItem(WatchFacts):
    """A task being followed."""

    node: Annotated[str | None, Field(description="the node that follows it; null: no node does")]
    connected: Annotated[bool | None, Field(description="its stream is open; null: only its node knows")]


class WatchPage(TypedDict):
    """A page of watches, newest first."""

    items: list[WatchItem]
    next: NextCursor | None


class AddedWatch(TypedDict):
    """One entry of a request to add watches."""

    source: str
    id: TaskId
    created: Annotated[bool, Field(description="false: it was there already, and nothing was changed")]


class Warned(TypedDict):
    """Warnings about a watch that the daemon accepts, though it is probably a mistake."""

    warnings: Annotated[list[str], Field(description="such as: no endpoint receives the events of the watch")]


class AddedWatches(Warned):
    """The result of a list, in its order."""

    items: list[AddedWatch]
    created: Count
    existing: Count


class FollowedWatch(WatchItem, Warned):
    """The result of one watch."""


class EventPage(TypedDict):
    """A page of events."""

    items: list[EventItem]
    next: NextCursor | None


class DeliveryPage(TypedDict):
    """A page of deliveries, newest first."""

    items: list[DeliveryItem]
    next: NextCursor | None


class WatchConnection(TypedDict):
    """The state of a watch's subscription."""

    open: bool
    failures: Annotated[Count, Field(description="in a row")]
    trouble: Annotated[LostName | None, Field(description="the reason for which it is given up if the trouble lasts")]
    error: Annotated[
        str | None, Field(description="of the last connection, or why there is none; null: it ended in order")
    ]
    unread: Annotated[str | None, Field(description="why the latest snapshot of the open stream cannot be read")]


class WatchDetail(WatchItem, WatchHistory):
    """A watch with its events."""

    receivers: Annotated[list[str], Field(description="endpoints that receive its events, by the configuration")]
    connection: Annotated[WatchConnection | None, Field(description="null: only the node that follows it knows")]


class EndpointHealth(TypedDict):
    """The health of an endpoint."""

    name: str
    state: Literal["ok", "slowed", "paused", "failing", "disabled"]
    reason: Annotated[str | None, Field(description="why it is not ok; if it is slowed, the share that it refuses")]
    in_flight: Count
    in_flight_limit: Annotated[Count, Field(description="attempts that the node that answers may have in flight now")]
    refused_share: Annotated[float, Field(ge=0, le=1, description="of attempts, in the last minute")]
    pending: Count
    oldest_seconds: float
    dead: Count
    failing_since: Annotated[Timestamp | None, Field(description="since when nothing was accepted")]
    next_attempt: Annotated[Timestamp | None, Field(description="before then nothing is sent; null: nothing holds it")]
    last_success: Annotated[Timestamp | None, Field(description="of the node that answers, since it started")]
    last_failure: Annotated[Timestamp | None, Field(description="of the node that answers, since it started")]
    last_error: Annotated[str | None, Field(description="of that failure")]


class EndpointItem(EndpointHealth):
    """An endpoint with its health."""

    type: str
    url: Annotated[str, Field(description="scheme and host only: the rest may be secret")]


class EndpointPage(TypedDict):
    """All endpoints."""

    items: list[EndpointItem]
    next: NextCursor | None


class Enabled(TypedDict):
    """Whether an endpoint is enabled."""

    endpoint: str
    enabled: bool


class TestResult(TypedDict):
    """The result of a test event."""

    outcome: AttemptOutcome
    status: Annotated[int | None, Field(description="of the reply; null: there was no reply")]
    seconds: float
    reason: str | None
    detail: str | None
    reply: Annotated[str, Field(description="its first characters")]


class Retried(TypedDict):
    """The number of deliveries that are sent again."""

    retried: Count


class MuteItem(TypedDict):
    """A mute that lasts."""

    id: str
    endpoint: Annotated[str | None, Field(description="null: every endpoint that people read")]
    labels: Annotated[dict[str, str], Field(description="of the watch, all of them; none: every event")]
    until: Timestamp
    created_at: Timestamp
    comment: str | None


class MutePage(TypedDict):
    """The mutes that last, oldest first."""

    items: list[MuteItem]
    next: NextCursor | None


class Reloaded(TypedDict):
    """The configuration was loaded."""

    reloaded: Literal[True]
    watches: Annotated[dict[str, Count], Field(description="of the files: added, changed, removed, unchanged")]
    added: Annotated[list[str], Field(description="parts of the configuration, such as `endpoint app`")]
    changed: list[str]
    removed: list[str]
    needs_restart: Annotated[list[str], Field(description="keys that changed and that only a restart can change")]
    warnings: Annotated[
        list[str], Field(description="of `notifier check` that are new, and watches left without a source")
    ]
    node: NotRequired[Annotated[str, Field(description="the node that loaded it, if there are several")]]
    others: NotRequired[Annotated[Count, Field(description="nodes that still have to be asked")]]


class SourceTrouble(TypedDict):
    """The latest error of one kind that watches of a source have."""

    error: str
    hint: Annotated[str, Field(description="what to do about it")]
    excerpt: Annotated[str, Field(description="of the snapshot that cannot be read; empty: there is none")]


class SourceStatus(TypedDict):
    """The state of a source."""

    name: str
    watches: Annotated[
        dict[str, Count],
        Field(description="by phase; `new`: not observed yet; `lost`: given up"),
    ]
    following: Annotated[Count, Field(description="watches followed, by all nodes")]
    open: Annotated[Count, Field(description="open streams, of all nodes")]
    waiting: Annotated[Count, Field(description="watches that wait for a free stream or for `connect_rate`")]
    max_streams: Annotated[Count, Field(description="open streams that each node may have")]
    troubles: Annotated[dict[str, int], Field(description="watches in trouble, by kind")]
    errors: Annotated[dict[str, SourceTrouble], Field(description="the troubles in words, by kind")]
    unknown_states: Annotated[list[str], Field(description="states that no list names; they count as running")]
    running_states: Annotated[list[str], Field(description="states that are listed as running")]
    unheard: Annotated[Count, Field(description="watches followed whose events nobody receives")]
    lost_lately: Annotated[
        dict[str, Count],
        Field(description="watches given up in the last 24 hours, by reason; one that is removed counts no longer"),
    ]


class StoreStatus(TypedDict):
    """The state of the store."""

    available: bool


class CallbacksStatus(TypedDict):
    """The state of all callbacks of watches together."""

    enabled: bool
    pending: Count
    oldest_seconds: float
    dead: Count


class QueueStatus(TypedDict):
    """The state of a queue that watches are read from."""

    name: str
    problem: Annotated[str | None, Field(description="why this node reads nothing from it; null: nothing is known")]


class ArchiveStatus(TypedDict):
    """The state of the place where results are kept."""

    problem: Annotated[str | None, Field(description="why a node could not keep its last result; null: none is known")]


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
    without_source: Annotated[
        dict[str, Count],
        Field(description="open watches that nobody follows, by the source that no node's configuration names"),
    ]
    endpoints: list[EndpointHealth]
    callbacks: CallbacksStatus
    mutes: Annotated[list[MuteItem], Field(description="those that last")]
    archive: ArchiveStatus
    queues: Annotated[list[QueueStatus], Field(description="as this node reads them")]


class NodeItem(TypedDict):
    """A daemon as it was about a second ago; null: it has not reported that value."""

    number: Annotated[Count, Field(description="never used again")]
    name: str
    version: str
    started_at: Timestamp
    seen_at: Annotated[Timestamp, Field(description="time of its last heartbeat")]
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


class NodePage(TypedDict):
    """All nodes."""

    items: list[NodeItem]
    next: NextCursor | None
