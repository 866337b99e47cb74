"""From what an attempt came to, to the store: judges the delivery, saves the verdict, hands on what that released.

What was not begun goes the same way: back to the store for later, or set aside for a newer state.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import structlog

from notifier.core.breaker import State
from notifier.core.errors import StaleWrite
from notifier.core.model import Delivery, Micros
from notifier.core.retry import Attempt, Delivered, Gone
from notifier.deliver.endpoint_queue import EndpointQueue
from notifier.deliver.verdict import verdict
from notifier.runtime.metrics import Metrics
from notifier.store import Dead, Done, Later, Settlement, Store, Superseded, Verdict

log = structlog.get_logger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]
Begin = Callable[[str, Work], bool]  # a task of that name, beside all else; False, and none, once the end has come


class Settling:
    """Saves what becomes of deliveries."""

    def __init__(
        self,
        *,
        store: Store,
        queues: Mapping[str, EndpointQueue],
        metrics: Metrics,
        clock: Callable[[], Micros],
        jitter: Callable[[], float],
        begin: Begin,
        offer: Callable[[Sequence[Delivery]], None],
        stored: Callable[[str], None],
        wake: Callable[[], None],
    ) -> None:
        """Make ready; `offer` takes what was released and is ours, `stored` and `wake` hear of what the store keeps."""
        self._store = store
        self._queues = queues
        self._metrics = metrics
        self._clock = clock
        self._jitter = jitter
        self._begin = begin
        self._offer = offer
        self._stored = stored
        self._wake = wake
        self._draining = False

    def drain(self) -> None:
        """Take nothing more that a verdict releases."""
        self._draining = True

    async def conclude(self, queue: EndpointQueue, delivery: Delivery, attempt: Attempt) -> None:
        """Save what an attempt came to. Raises StaleWrite."""
        now = self._clock()
        outcome = attempt.outcome
        self._metrics.attempts.labels(queue.label, type(outcome).__name__.lower()).inc()
        said = verdict(outcome, delivery, schedule=queue.policy.schedule, now=now, jitter=self._jitter())
        if isinstance(said, Done):
            self._metrics.latency.labels(queue.label).observe(max(0, now - delivery.observed_at) / 1e6)
        else:
            _complain(delivery, attempt, said, now, queue.origin)
        await self._settle(delivery, said, attempt)

    def supersede(self, delivery: Delivery) -> None:
        """Leave out a delivery that was not begun: a newer state goes instead."""
        self._aside(delivery, Superseded())

    def put_back(self, delivery: Delivery, *, after: float = 0.0) -> None:
        """Leave a delivery that came to nothing to the store, for `after` seconds at least."""
        self._aside(delivery, Later(due=self._clock() + round(after * 1e6), attempt=delivery.attempt))

    def clear(self, queue: EndpointQueue) -> None:
        """Leave everything that was not begun to the store."""
        for delivery in queue.empty():
            self.put_back(delivery)

    def _aside(self, delivery: Delivery, said: Verdict) -> None:
        """Settle a delivery that nobody is sending, beside all else; the boundary for its faults."""

        queue = self._queues.get(delivery.endpoint)
        if queue is not None:
            queue.aside += 1

        async def settle() -> None:
            try:
                await self._settle(delivery, said)
            except StaleWrite:
                log.warning("delivery.not_ours", delivery=delivery.id, endpoint=delivery.endpoint)
            except Exception:
                log.exception("delivery.failed", delivery=delivery.id, endpoint=delivery.endpoint)
            finally:
                if queue is not None:
                    queue.aside -= 1

        # Once the end has come it is not begun: the next start frees what this one held.
        self._begin(f"settle {delivery.id}", settle)

    async def _settle(self, delivery: Delivery, said: Verdict, attempt: Attempt | None = None) -> None:
        """Save a verdict; send on what it released."""
        queue = self._queues.get(delivery.endpoint)
        take = (
            queue is not None
            and not self._draining
            and not queue.leaving
            and not queue.elsewhere
            and queue.breaker.state is not State.DISABLED
        )
        latest = queue is not None and queue.policy.latest
        released = await self._store.settle(
            Settlement(delivery=delivery, verdict=said, at=self._clock(), attempt=attempt, take=take, latest=latest)
        )
        queue = self._queues.get(delivery.endpoint)
        if queue is not None:
            if isinstance(said, Later):
                queue.due(said.due)
                self._wake()
            if not take and (latest or not isinstance(said, Later)):
                self._stored(queue.name)
        elif isinstance(said, Later) or not take:
            self._stored(delivery.endpoint)
        if released is not None:
            if isinstance(said, Later):
                log.info(
                    "delivery.superseded", endpoint=delivery.endpoint, delivery=delivery.id, event_id=delivery.event_id
                )
            self._offer([released])


def _complain(delivery: Delivery, attempt: Attempt, said: Verdict, now: Micros, origin: str | None) -> None:
    outcome = attempt.outcome
    if isinstance(outcome, Delivered):
        return
    fields: dict[str, object] = {
        "endpoint": delivery.endpoint,
        "delivery": delivery.id,
        "event_id": delivery.event_id,
        "attempt": delivery.attempt + 1,
        "reason": outcome.reason,
        "detail": outcome.detail,
    }
    if origin is not None:
        fields["url"] = origin
    match said:
        case Later() if isinstance(outcome, Gone):
            log.info("delivery.kept", **fields)  # for when somebody enables the endpoint
        case Later(due=due):
            log.info("delivery.retrying", **fields, delay=round((due - now) / 1e6, 3))
        case Dead() | Done() | Superseded():  # the last two do not follow from an attempt that failed
            log.error("delivery.dead", **fields, hint=f"notifier delivery retry {delivery.id}")
