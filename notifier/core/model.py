"""The values that the whole program shares. Immutable, without behaviour.

Times are `Micros`: integer microseconds since the Unix epoch, UTC, so that neither database rounds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from notifier.core.callback import Callback
from notifier.core.kept_json import KeptJson

Json = Any  # whatever `json.loads` returns
Micros = int
NONE: Mapping[str, str] = MappingProxyType({})  # shared by all watches that have no variables


class Phase(StrEnum):
    """Our own word for a task's progress; `state` is the provider's."""

    QUEUED = "queued"  # accepted, not started
    RUNNING = "running"  # in work; also every unknown state
    SUCCEEDED = "succeeded"  # ended with a result
    FAILED = "failed"  # ended without one
    CANCELED = "canceled"  # ended on request

    @property
    def terminal(self) -> bool:
        """Return whether no other phase can follow."""
        return self in TERMINAL


TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELED})


class EventType(StrEnum):
    """The kinds of events; the `type` of a callback."""

    STATE_CHANGED = "task.state_changed"  # a new state that is not terminal
    SUCCEEDED = "task.succeeded"  # terminal
    FAILED = "task.failed"  # terminal
    CANCELED = "task.canceled"  # terminal
    LOST = "watch.lost"  # given up without a terminal state
    STALLED = "watch.stalled"  # no change for `stall_after`; once for each state
    ENDPOINT_FAILING = "endpoint.failing"  # for operators: it accepted nothing for `failing_after`
    ENDPOINT_DISABLED = "endpoint.disabled"  # for operators: no more attempts until it is enabled
    ENDPOINT_RECOVERED = "endpoint.recovered"  # for operators: it accepts deliveries again
    SOURCE_FAILING = "source.failing"  # for operators: all tries of the source failed for `failing_after`
    SOURCE_RECOVERED = "source.recovered"  # for operators: the source answers again
    RELOAD_FAILED = "notifier.reload_failed"  # for operators: a configuration was refused


class LostReason(StrEnum):
    """Why a watch was given up."""

    NOT_FOUND = "not_found"  # the upstream did not know the id for the grace period
    REFUSED = "refused"  # the upstream refused our credentials or request for `give_up_after`
    DEADLINE = "deadline"  # the watch took longer than `deadline`
    UNREADABLE = "unreadable"  # the upstream's answers were no task states for `give_up_after`


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskError:
    """The provider's description of a failure; both parts are opaque."""

    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptResult:
    """A result in the archive, or why it is not there."""

    url: str | None  # of the file; None: it is not kept
    bytes: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One report read from a source, normalised."""

    state: str | None  # None: it names no state, only an error; the watch keeps the state that it had
    phase: Phase
    progress: float | None = None  # in the provider's unit
    eta_seconds: float | None = None
    error: TaskError | None = None
    urls: tuple[str, ...] = ()  # of the result
    result_error: str | None = None  # why a result that had to be fetched is missing
    kept: tuple[KeptResult, ...] = ()  # for each of the URLs; empty: nothing is archived
    urls_lifetime: float | None = None  # seconds for which they can be read; None: unknown
    urls_expire: float | None = None  # when they cannot be read any more, in seconds since the epoch, if it is told
    task: Json = None  # the provider's complete snapshot
    event_id: str = ""  # the stream's ID of the event, for Last-Event-ID; empty: it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A task being followed, as last committed."""

    pk: int
    source: str
    id: str
    created_at: Micros
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Json | KeptJson = None
    endpoints: tuple[str, ...] | None = None  # None: every endpoint whose `match` accepts it
    callback: str | None = None  # the name of the watch's own destination (core/callback.py)
    variables: Mapping[str, str] = field(default_factory=lambda: NONE)  # of the source's URL, before the source's own
    traceparent: str | None = None  # of the trace in which the task was submitted (core/trace.py)
    state: str | None = None
    phase: Phase | None = None
    sequence: int = 0  # of the last event
    changed_at: Micros = 0  # when the state last changed; creation at first
    stalled: bool = False  # the event was sent since the last change
    ended: bool = False  # terminal or lost: no event follows
    last_event_id: str = ""  # of the event that brought the last change; empty: it had none


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWatch:
    """A request to follow a task."""

    source: str
    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Json = None
    endpoints: tuple[str, ...] | None = None
    callback: Callback | None = None  # the watch's own destination
    variables: Mapping[str, str] = field(default_factory=lambda: NONE)  # of the source's URL, before the source's own
    traceparent: str | None = None  # of the trace in which the task was submitted (core/trace.py)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event before it is encoded. `watch` is the state after the event; None for operators' events."""

    type: EventType
    at: Micros
    watch: Watch | None = None
    previous_state: str | None = None
    previous_phase: Phase | None = None
    observation: Observation | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)  # for example `reason` and `detail`; merged into `data`


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one endpoint."""

    id: int
    endpoint: str
    event_id: str  # the `webhook-id`, the same on every attempt
    event_type: str
    body: bytes  # fixed when the event was committed
    lane: int | None  # the watch's pk: deliveries of one lane and endpoint go out in order; None: no order
    observed_at: Micros  # when the event happened
    attempt: int = 0  # attempts made so far
    traceparent: str | None = None  # sent on with callbacks


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """A message that shows a task in a channel, and is edited as the task moves."""

    place: str  # a digest of the service and the channel as configured
    channel: str  # the channel's id
    ts: str  # the message's id in the channel
    sequence: int = 0  # of the event that it shows
    replied: str | None = None  # the id of the last event that was told in its thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One endpoint that an event goes to."""

    endpoint: str
    latest: bool = False  # the event supersedes undelivered events of the same watch
    take: bool = True  # this node owns the delivery at once, without a claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An event in the form that is stored."""

    id: str  # the `webhook-id`
    type: EventType
    at: Micros
    sequence: int
    body: bytes
    addresses: tuple[Address, ...] = ()
    lost: LostReason | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointState:
    """An endpoint's health as stored: it survives restarts, and all nodes that share the store read it."""

    name: str
    fingerprint: str  # of the URL; a state with another fingerprint is ignored
    disabled_at: Micros | None = None
    reason: str | None = None
    failing_since: Micros | None = None
    held: str = "closed"  # the breaker's state for other nodes: closed, throttled or open
    not_before: Micros = 0  # nothing is sent before this time while it is held
    rounds: int = 0  # cool-downs in a row
    leader: int | None = None  # the number of the only node that may send, if only one may
    version: int = 0  # counts the changes, except those of the leader
