"""The values that the whole program speaks in. Immutable; no behaviour beyond naming.

Times are `Micros`: integer microseconds since the Unix epoch, UTC, so that both databases keep them unrounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from notifier.core.callback import Callback

Json = Any  # whatever `json.loads` returns
Micros = int


class Phase(StrEnum):
    """Our own word for where a task is; `state` is the provider's."""

    QUEUED = "queued"  # accepted, not started
    RUNNING = "running"  # being worked on; also every state that we do not know
    SUCCEEDED = "succeeded"  # ended well
    FAILED = "failed"  # ended badly
    CANCELED = "canceled"  # ended because someone asked

    @property
    def terminal(self) -> bool:
        """Say whether nothing can follow."""
        return self in TERMINAL


TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELED})


class EventType(StrEnum):
    """What can happen; the `type` of a callback."""

    STATE_CHANGED = "task.state_changed"  # a new state, not a terminal one
    SUCCEEDED = "task.succeeded"  # terminal
    FAILED = "task.failed"  # terminal
    CANCELED = "task.canceled"  # terminal
    LOST = "watch.lost"  # given up without a terminal state
    STALLED = "watch.stalled"  # no change for `stall_after`; said once for each state
    ENDPOINT_DISABLED = "endpoint.disabled"  # for operators: no more attempts until it is enabled
    ENDPOINT_RECOVERED = "endpoint.recovered"  # for operators: it takes deliveries again
    RELOAD_FAILED = "notifier.reload_failed"  # for operators: a configuration was refused


class LostReason(StrEnum):
    """Why a watch was given up."""

    NOT_FOUND = "not_found"  # the upstream does not know the id, beyond the grace period
    REFUSED = "refused"  # the upstream refuses our credentials or request, beyond `give_up_after`
    DEADLINE = "deadline"  # the watch took longer than `deadline`
    UNREADABLE = "unreadable"  # the upstream answers something that is no task state, beyond `give_up_after`


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskError:
    """The provider's own account of a failure; both parts opaque."""

    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One report read from a source, normalised."""

    state: str
    phase: Phase
    progress: float | None = None  # as the provider gives it
    eta_seconds: float | None = None
    error: TaskError | None = None
    urls: tuple[str, ...] = ()  # of the result
    task: Json = None  # the provider's snapshot, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A task being followed, as last committed."""

    pk: int
    source: str
    id: str
    created_at: Micros
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Json = None
    endpoints: tuple[str, ...] | None = None  # None: every endpoint whose `match` accepts it
    callback: str | None = None  # the name of a destination of its own, told besides (core/callback.py)
    state: str | None = None
    phase: Phase | None = None
    sequence: int = 0  # of the last event
    changed_at: Micros = 0  # when the state last changed; creation at first
    stalled: bool = False  # said so since the last change
    ended: bool = False  # terminal or lost: nothing more will happen


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWatch:
    """A request to follow a task."""

    source: str
    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Json = None
    endpoints: tuple[str, ...] | None = None
    callback: Callback | None = None  # a destination of its own, told besides


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened, before it is bytes. `watch` is the state after the event; None for operators' events."""

    type: EventType
    at: Micros
    watch: Watch | None = None
    previous_state: str | None = None
    previous_phase: Phase | None = None
    observation: Observation | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)  # `reason`, `detail` and the like, merged into `data`


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One endpoint that an event goes to."""

    endpoint: str
    latest: bool = False  # supersede what is undelivered of the same watch
    take: bool = True  # the delivery is this node's at once, not first claimed


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


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointState:
    """What is kept of an endpoint's health: it outlives a restart, and all nodes that share a store know it."""

    name: str
    fingerprint: str  # of its URL; a state under another fingerprint is void
    disabled_at: Micros | None = None
    reason: str | None = None
    failing_since: Micros | None = None
    held: str = "closed"  # by its breaker, for other nodes to know: closed, throttled or open
    not_before: Micros = 0  # nothing goes out before, if it is held
    rounds: int = 0  # cool-downs in a row
    leader: int | None = None  # the number of the node that serves it, where only one may
    version: int = 0  # counts its changes, but for those of the leader
