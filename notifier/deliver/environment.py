"""The policy of one destination, and the parts that all destinations use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from notifier.core.breaker import SILENCE, Silence
from notifier.deliver.mutes import ActiveMutes
from notifier.deliver.outbox import OutboxClient
from notifier.deliver.tasks import Tasks
from notifier.runtime.clock import Clock
from notifier.runtime.metrics import Metrics
from notifier.runtime.tracing import Tracing
from notifier.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPolicy:
    """How an operator wants an endpoint to be treated; times in seconds."""

    fingerprint: str  # of the URL
    schedule: tuple[float, ...]
    max_in_flight: int
    rate_limit: float | None  # a second
    latest: bool
    failing_after: float | None  # None: nobody is told
    disable_after: float | None
    people: bool = False  # people read it: it can be muted
    digest: float | None = None  # seconds: events of so long go out as one message


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The parts that all destinations use."""

    store: Store
    outbox: OutboxClient
    tasks: Tasks
    metrics: Metrics
    clock: Clock
    mutes: ActiveMutes
    tracing: Tracing
    jitter: Callable[[], float]
    silence: Silence = SILENCE  # of a destination, before it is only probed
