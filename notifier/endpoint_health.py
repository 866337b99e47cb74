"""The health of endpoints: keeps what outlives a restart, tells operators, shows it in a metric.

What attempts mean for it is the breaker's to say (`core/breaker.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import structlog

from notifier.core.breaker import State
from notifier.core.model import EndpointState, Event, EventType, Micros
from notifier.core.retry import Gone, Outcome
from notifier.endpoint_queue import EndpointQueue
from notifier.interfaces import Recovery, Store
from notifier.metrics import Metrics

log = structlog.get_logger(__name__)

OPERATOR = "operator"  # the reason of whoever disables an endpoint by hand


class EndpointHealth:
    """Judges endpoints by what is met there."""

    def __init__(
        self,
        *,
        store: Store,
        metrics: Metrics,
        clock: Callable[[], Micros],
        announce: Callable[[Event], Awaitable[None]],
        recovered: Callable[[EndpointQueue, Micros], None],
    ) -> None:
        """Make ready; `recovered` is told of an endpoint that is well again, and since when it was not."""
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._announce = announce
        self._recovered = recovered

    def judge(self, queue: EndpointQueue, outcome: Outcome, *, probe: bool) -> bool:
        """Take in how an attempt ended; say whether the endpoint's state is another now."""
        before = queue.breaker
        after = queue.breaker = before.record(outcome, self._clock(), probe=probe)
        if after.state is before.state:
            return False
        self.show(queue)
        if after.state is not State.DISABLED:
            log.info("endpoint.state", endpoint=queue.name, state=after.state.value, was=before.state.value)
        return True

    async def follow(self, queue: EndpointQueue, outcome: Outcome) -> None:
        """Save and tell whatever follows from an attempt that was judged."""
        now = self._clock()
        if not queue.configured:
            return
        if queue.breaker.state is State.DISABLED:
            if isinstance(outcome, Gone):
                await self.disable(queue, outcome.reason, outcome.detail)
        elif queue.breaker.should_disable(now, queue.policy.disable_after):
            await self.disable(queue, "failing", f"no success for {queue.policy.disable_after:g} s")
        else:
            await self._note(queue, now)

    async def disable(self, queue: EndpointQueue, reason: str, detail: str) -> None:
        """Send no more to an endpoint; what is for it is kept. Operators are told."""
        if queue.disabled_reason is not None:
            return
        queue.breaker = queue.breaker.disable()
        queue.disabled_reason = reason
        self.show(queue)
        say = log.warning if reason == OPERATOR else log.error  # whoever did it knows
        say("endpoint.disabled", endpoint=queue.name, reason=reason, detail=detail, hint="its deliveries are kept")
        # Told first: were it the other way round, a crash in between would keep it from operators for good.
        await self._tell(EventType.ENDPOINT_DISABLED, queue, {"reason": reason, "detail": detail})
        await self._keep(queue)

    async def enable(self, queue: EndpointQueue) -> None:
        """Think well of an endpoint again."""
        was, since = queue.breaker.state, queue.breaker.failing_since
        queue.breaker = queue.breaker.enable()
        queue.disabled_reason = None
        self.show(queue)
        await self._keep(queue)
        if was is State.DISABLED:
            log.info("endpoint.enabled", endpoint=queue.name)
            await self._tell(EventType.ENDPOINT_RECOVERED, queue, {"reason": "enabled"})
        if since is not None:
            self._recovered(queue, since)

    async def hasten(self, queue: EndpointQueue, failing_since: Micros) -> None:
        """Have what failed during an outage sent soon, instead of when its schedule says; the boundary for its faults.

        A crash before it is done costs only that: what was not brought forward goes out by its schedule.
        """
        now = self._clock()
        recovery = Recovery(
            endpoint=queue.name,
            at=now,
            failing_since=failing_since,
            created_after=now - round(sum(queue.policy.schedule) * 1e6),
        )
        try:
            count = await self._store.hasten(recovery)
        except Exception:
            log.exception("endpoint.hasten_failed", endpoint=queue.name)
            return
        if count:
            log.info("endpoint.hastened", endpoint=queue.name, deliveries=count)

    def recall(self, queue: EndpointQueue, state: EndpointState) -> None:
        """Go on from what is known of an endpoint; what was known of another URL is void."""
        if queue.policy.fingerprint != state.fingerprint:
            return
        if state.disabled_at is not None:
            queue.breaker = queue.breaker.disable()
            queue.disabled_reason = state.reason or "unknown"
            log.warning(
                "endpoint.still_disabled",
                endpoint=queue.name,
                reason=queue.disabled_reason,
                hint=f"notifier endpoint enable {queue.name}",
            )
        queue.breaker = replace(queue.breaker, failing_since=state.failing_since)
        queue.kept_failing_since = state.failing_since
        self.show(queue)

    def show(self, queue: EndpointQueue) -> None:
        """Set the metric."""
        for state in State if queue.configured else ():
            gauge = self._metrics.endpoint_state.labels(queue.name, state.value)
            gauge.set(1 if state is queue.breaker.state else 0)

    def hide(self, queue: EndpointQueue) -> None:
        """Take an endpoint that is no more out of the metric."""
        for state in State:
            self._metrics.endpoint_state.remove(queue.name, state.value)

    async def _note(self, queue: EndpointQueue, now: Micros) -> None:
        """Keep since when an endpoint fails, once it fails in earnest, and tell when that is over."""
        since = queue.kept_failing_since
        if since is None:
            if queue.breaker.state in (State.OPEN, State.HALF_OPEN) and queue.breaker.failing_since is not None:
                await self._keep(queue)
        elif queue.breaker.failing_since is None:
            queue.kept_failing_since = None
            told = {"reason": "answers again", "failed_seconds": round((now - since) / 1e6, 3)}
            self._recovered(queue, since)
            await self._tell(EventType.ENDPOINT_RECOVERED, queue, told)
            await self._keep(queue)

    async def _keep(self, queue: EndpointQueue) -> None:
        disabled = queue.breaker.state is State.DISABLED
        queue.kept_failing_since = queue.breaker.failing_since
        await self._store.save_endpoint_state(
            EndpointState(
                name=queue.name,
                fingerprint=queue.policy.fingerprint,
                disabled_at=self._clock() if disabled else None,
                reason=queue.disabled_reason,
                failing_since=queue.breaker.failing_since,
            )
        )

    async def _tell(self, kind: EventType, queue: EndpointQueue, extra: Mapping[str, object]) -> None:
        await self._announce(Event(type=kind, at=self._clock(), extra={"endpoint": queue.name, **extra}))
