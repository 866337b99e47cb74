"""The health of endpoints: keeps what outlives a restart, tells operators, shows it in a metric.

What attempts mean for it is the breaker's to say (`core/breaker.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import structlog

from notifier.core import endpoint
from notifier.core.breaker import State
from notifier.core.endpoint import EndpointUpdate, News
from notifier.core.model import EndpointState, Event, EventType, Micros
from notifier.core.retry import Gone, Outcome
from notifier.deliver.endpoint_queue import EndpointQueue
from notifier.runtime.metrics import Metrics
from notifier.store import ChangedEndpoint, EndpointChange, Recovery, Store

log = structlog.get_logger(__name__)

OPERATOR = "operator"  # the reason of whoever disables an endpoint by hand


# Commits an operators' event together with a change of an endpoint; None: the store is away, and the daemon stops.
Announce = Callable[[Event, EndpointChange], Awaitable[ChangedEndpoint | None]]


class EndpointHealth:
    """Judges endpoints by what is met there."""

    def __init__(
        self,
        *,
        store: Store,
        metrics: Metrics,
        clock: Callable[[], Micros],
        announce: Announce,
        saved: Callable[[], None],
        recovered: Callable[[EndpointQueue, Micros], None],
    ) -> None:
        """Make ready; `recovered` is told of an endpoint that is well again, and since when it was not."""
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._announce = announce
        self._recovered = recovered
        self._saved = saved

    def judge(self, queue: EndpointQueue, outcome: Outcome, *, probe: bool) -> bool:
        """Take in how an attempt ended; say whether the endpoint's state is another now."""
        before = queue.breaker
        after = queue.breaker = before.record(outcome, self._clock(), probe=probe)
        if after.state is before.state:
            return False
        self.show(queue)
        if probe and after.state is State.OPEN:
            queue.passing = queue.leading
        if not queue.configured and after.state is State.CLOSED and before.failing_since is not None:
            self._recovered(queue, before.failing_since)  # of endpoints their row decides, see `follow`
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
        making = endpoint.disabling(self._clock(), reason, queue.breaker.failing_since)
        told = {"reason": reason, "detail": detail}
        await self._change(queue, making, EventType.ENDPOINT_DISABLED, told)

    async def enable(self, queue: EndpointQueue) -> None:
        """Think well of an endpoint again."""
        was, since = queue.breaker.state, queue.breaker.failing_since
        queue.breaker = queue.breaker.enable()
        queue.disabled_reason = None
        self.show(queue)
        if was is State.DISABLED:
            log.info("endpoint.enabled", endpoint=queue.name)
            await self._change(queue, endpoint.enabling, EventType.ENDPOINT_RECOVERED, {"reason": "enabled"})
        else:
            await self._change(queue, endpoint.forgiving)
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
        if queue.shared or state.disabled_at is not None:
            queue.breaker = endpoint.adopt(queue.breaker, state, self._clock())
        if state.disabled_at is not None:
            queue.disabled_reason = state.reason or "unknown"
            log.warning(
                "endpoint.still_disabled",
                endpoint=queue.name,
                reason=queue.disabled_reason,
                hint=f"notifier endpoint enable {queue.name}",
            )
        queue.breaker = replace(queue.breaker, failing_since=state.failing_since)
        queue.kept = state
        self.show(queue)

    def heed(self, queue: EndpointQueue, state: EndpointState) -> None:
        """Take over what another node has met, or was told."""
        if state.version <= queue.kept.version or state.fingerprint != queue.policy.fingerprint:
            return
        before = queue.breaker
        queue.kept = state
        queue.breaker = endpoint.adopt(before, state, self._clock())
        queue.disabled_reason = None if state.disabled_at is None else state.reason or "unknown"
        self.show(queue)
        if queue.breaker.state is not before.state:
            fields = {} if queue.disabled_reason is None else {"reason": queue.disabled_reason}
            now, was = queue.breaker.state.value, before.state.value
            log.info("endpoint.state", endpoint=queue.name, state=now, was=was, by="another node", **fields)

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
        """Keep that an endpoint fails, once it fails in earnest, and tell when that is over."""
        match endpoint.news(queue.breaker, queue.kept, shared=queue.shared):
            case News.SICK:
                await self._change(queue, endpoint.failing(queue.breaker))
            case News.WELL:
                since = queue.kept.failing_since or now
                told = {"reason": "answers again", "failed_seconds": round((now - since) / 1e6, 3)}
                making = endpoint.recovering(queue.breaker)
                if await self._change(queue, making, EventType.ENDPOINT_RECOVERED, told):
                    self._recovered(queue, since)
            case News.NONE:
                pass

    async def _change(
        self,
        queue: EndpointQueue,
        make: EndpointUpdate,
        tell: EventType | None = None,
        told: Mapping[str, object] | None = None,
    ) -> bool:
        """Keep a change, and tell operators of it; False: another node has, or it was so already."""
        version = queue.kept.version
        queue.kept = make(queue.kept) or queue.kept  # at once, for the attempts that end before it is saved
        change = EndpointChange(name=queue.name, fingerprint=queue.policy.fingerprint, update=make)
        if tell is None:
            changed = await self._store.change_endpoint(change)
        else:
            event = Event(type=tell, at=self._clock(), extra={"endpoint": queue.name, **(told or {})})
            said = await self._announce(event, change)
            if said is None:  # the daemon stops while the store is away
                return False
            changed = said
        if changed.done and queue.kept.version == version:
            queue.kept = changed.after
        else:
            self.heed(queue, changed.after)
        self._saved()
        return changed.done
