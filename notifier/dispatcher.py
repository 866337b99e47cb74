"""From the outbox to the endpoints: claims what is due, has it sent, saves what became of it.

Order holds because the store releases the next delivery of a watch and endpoint only when the one before is settled.
Endpoints share nothing here but the loop: each has its own queue, workers and breaker.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from notifier.core import retry
from notifier.core.breaker import State
from notifier.core.errors import StaleWrite, StoreUnavailable
from notifier.core.model import Delivery, EndpointState, Event, EventType, Micros
from notifier.core.retry import Attempt, Delivered, Failed, Gone, Rejected
from notifier.endpoint_queue import EndpointPolicy, EndpointQueue, Link
from notifier.interfaces import Dead, Done, Later, Sender, Settlement, Store, Superseded, Verdict
from notifier.metrics import Metrics

log = structlog.get_logger(__name__)

LOOK_AGAIN = 10.0  # seconds between looks for deliveries that nobody announced
AFTER_OUTAGE = 1.0  # seconds until the store is asked again after it could not answer


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSetup:
    """An endpoint as configured."""

    sender: Sender
    policy: EndpointPolicy


class Dispatcher:
    """Owns the endpoints' queues."""

    def __init__(
        self,
        *,
        store: Store,
        metrics: Metrics,
        clock: Callable[[], Micros],
        announce: Callable[[Event], Awaitable[None]],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._announce = announce
        self._jitter = jitter
        self._queues: dict[str, EndpointQueue] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._draining = False
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def queues(self) -> Mapping[str, EndpointQueue]:
        """Return the queues by endpoint."""
        return self._queues

    # -- what the recorder asks of it

    def accepts(self, endpoint: str) -> bool:
        """Say whether a new delivery may skip the store's queue: there is room, and nothing older waits there."""
        queue = self._queues.get(endpoint)
        return (
            queue is not None
            and not self._draining
            and not queue.backlog
            and queue.room > 0
            and queue.breaker.ready(self._clock())
        )

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Take deliveries that are ready and ours."""
        for delivery in deliveries:
            queue = self._queues.get(delivery.endpoint)
            if queue is None:
                self._spawn(self._put_back(delivery), f"put back {delivery.id}")
                continue
            queue.push(delivery)
            self._pump(queue)

    def stored(self, endpoint: str) -> None:
        """Hear that the store holds a new delivery that is not ours yet."""
        queue = self._queues.get(endpoint)
        if queue is not None:
            queue.backlog = True
            self._wake.set()

    def newer(self, endpoint: str, lane: int) -> None:
        """Let a newer state take the place of one that is not on its way yet."""
        queue = self._queues.get(endpoint)
        stale = queue.pull(lane) if queue is not None else None
        if stale is not None:
            self._spawn(self._settle(stale, Superseded()), f"supersede {stale.id}")

    # -- what the application asks of it

    def set_endpoints(self, setups: Mapping[str, EndpointSetup]) -> None:
        """Send to these endpoints; sends under way finish."""
        for name in self._queues.keys() - setups.keys():
            queue = self._queues.pop(name)
            self._retire(queue.link)
            if queue.timer is not None:
                queue.timer.cancel()
            for delivery in queue.empty():
                self._spawn(self._put_back(delivery), f"put back {delivery.id}")
        for name, setup in setups.items():
            if name not in self._queues:
                self._queues[name] = EndpointQueue(name, setup.sender, setup.policy)
            queue = self._queues[name]
            if setup.sender is not queue.link.sender:
                self._retire(queue.link)
                queue.link = Link(setup.sender)
            queue.update(setup.policy)
            self._show(queue)
        self._wake.set()
        for queue in self._queues.values():
            self._pump(queue)

    def recall(self, states: Sequence[EndpointState]) -> None:
        """Go on from what is known of the endpoints' health; what was known of another URL is void."""
        for state in states:
            queue = self._queues.get(state.name)
            if queue is None or queue.policy.fingerprint != state.fingerprint:
                continue
            if state.disabled_at is not None:
                queue.breaker = queue.breaker.disable()
                queue.disabled_reason = state.reason
                log.warning(
                    "endpoint.still_disabled",
                    endpoint=queue.name,
                    reason=state.reason,
                    hint=f"notifier endpoint enable {queue.name}",
                )
            queue.breaker = replace(queue.breaker, failing_since=state.failing_since)
            queue.kept_failing_since = state.failing_since
            self._show(queue)

    async def disable(self, name: str, reason: str, detail: str) -> None:
        """Send no more to an endpoint; what is for it is kept. Operators are told."""
        queue = self._queues[name]
        if queue.breaker.state is State.DISABLED:
            return
        queue.breaker = queue.breaker.disable()
        queue.disabled_reason = reason
        self._show(queue)
        log.error("endpoint.disabled", endpoint=name, reason=reason, detail=detail, hint="its deliveries are kept")
        await self._tell(EventType.ENDPOINT_DISABLED, queue, {"reason": reason, "detail": detail})
        await self._keep(queue)
        for delivery in queue.empty():
            await self._put_back(delivery)

    async def enable(self, name: str) -> None:
        """Send to an endpoint again, whatever was thought of it."""
        queue = self._queues[name]
        was = queue.breaker.state
        queue.breaker = queue.breaker.enable()
        queue.disabled_reason = None
        queue.backlog = True
        self._show(queue)
        await self._keep(queue)
        if was is State.DISABLED:
            log.info("endpoint.enabled", endpoint=name)
            await self._tell(EventType.ENDPOINT_RECOVERED, queue, {"reason": "enabled"})
        self._wake.set()
        self._pump(queue)

    async def run(self) -> None:
        """Claim and send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for queue in self._queues.values():
                self._pump(queue)
            await self._claim()

    async def drain(self, timeout: float) -> int:
        """Begin nothing more and wait for what is under way; return how many did not end within `timeout` seconds."""
        self._draining = True
        try:
            async with asyncio.timeout(timeout):
                while self._in_flight():
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            pass
        return self._in_flight()

    async def close(self) -> None:
        """Let the senders go; after `run` has ended."""
        for queue in self._queues.values():
            if queue.timer is not None:
                queue.timer.cancel()
            await queue.link.sender.close()

    # -- claiming

    async def _claim(self) -> None:
        while True:
            self._wake.clear()
            now = self._clock()
            room = {} if self._draining else {q.name: count for q in self._queues.values() if (count := q.wants(now))}
            if room:
                await self._claim_into(room, now)
            waits = [queue.wait(self._clock()) for queue in self._queues.values()]
            pause = min((seconds for seconds in waits if seconds is not None), default=LOOK_AGAIN)
            try:
                async with asyncio.timeout(min(max(pause, 0.0), LOOK_AGAIN)):
                    await self._wake.wait()
            except TimeoutError:
                if pause >= LOOK_AGAIN:
                    for queue in self._queues.values():
                        queue.backlog = True

    async def _claim_into(self, room: Mapping[str, int], now: Micros) -> None:
        for name in room:  # what is stored from here on is announced again
            self._queues[name].backlog = False
        try:
            claim = await self._store.claim_deliveries(room, now=now)
        except StoreUnavailable:
            for name in room:
                if name in self._queues:
                    self._queues[name].backlog = True
            await asyncio.sleep(AFTER_OUTAGE)
            return
        got = dict.fromkeys(room, 0)
        for delivery in claim.deliveries:
            got[delivery.endpoint] += 1
        for name, asked in room.items():
            queue = self._queues.get(name)
            if queue is not None:
                queue.next_due = claim.next_due.get(name)
                queue.backlog = queue.backlog or got[name] >= asked
        self.offer(claim.deliveries)

    # -- sending

    def _pump(self, queue: EndpointQueue) -> None:
        """See that enough workers are at it: one more than are busy, as far as there is work for it."""
        if self._tasks is None or self._draining or self._queues.get(queue.name) is not queue:
            return
        if len(queue) and queue.workers < queue.policy.max_in_flight:
            queue.workers += 1
            self._tasks.create_task(self._work(queue), name=f"deliver {queue.name}")

    async def _work(self, queue: EndpointQueue) -> None:
        try:
            while not self._draining:
                taken = queue.take(self._clock(), asyncio.get_running_loop().time())
                if not isinstance(taken, tuple):
                    self._later(queue, taken)
                    return
                self._pump(queue)
                await self._deliver(queue, *taken)
        finally:
            queue.workers -= 1

    def _later(self, queue: EndpointQueue, wait: float | None) -> None:
        """Look again after `wait` seconds; None: whoever changes something will."""
        if wait is None:
            return
        if queue.timer is not None:
            queue.timer.cancel()
        queue.timer = asyncio.get_running_loop().call_later(max(wait, 0.001), self._pump, queue)

    async def _deliver(self, queue: EndpointQueue, delivery: Delivery, probe: bool) -> None:
        """Try one delivery; the boundary that keeps one delivery's fault from the rest."""
        link = queue.link
        link.users += 1
        try:
            attempt = await link.sender.send(delivery)
            if queue.link is link:  # what a replaced sender met says nothing of the new one
                self._judge(queue, attempt, probe)
            await self._conclude(queue, delivery, attempt)
        except StaleWrite:
            log.warning("delivery.not_ours", delivery=delivery.id, endpoint=queue.name)
        except Exception:
            log.exception("delivery.failed", delivery=delivery.id, endpoint=queue.name)
            await self._put_back(delivery, after=AFTER_OUTAGE)
        finally:
            queue.in_flight -= 1
            link.users -= 1
            if link.retired and not link.users:
                await link.sender.close()
            if queue.backlog and queue.low:
                self._wake.set()
            self._idle.set()

    def _judge(self, queue: EndpointQueue, attempt: Attempt, probe: bool) -> None:
        before = queue.breaker
        after = queue.breaker = before.record(attempt.outcome, self._clock(), probe=probe)
        if after.state is before.state:
            return
        self._show(queue)
        if after.state is not State.DISABLED:
            log.info("endpoint.state", endpoint=queue.name, state=after.state.value, was=before.state.value)

    async def _conclude(self, queue: EndpointQueue, delivery: Delivery, attempt: Attempt) -> None:
        """Save what an attempt came to, then whatever follows from it."""
        now = self._clock()
        outcome = attempt.outcome
        self._metrics.attempts.labels(queue.name, type(outcome).__name__.lower()).inc()
        verdict = self._verdict(queue, delivery, attempt, now)
        if isinstance(verdict, Done):
            self._metrics.latency.labels(queue.name).observe(max(0, now - delivery.observed_at) / 1e6)
        else:
            self._complain(queue, delivery, attempt, verdict, now)
        await self._settle(delivery, verdict, attempt)
        if isinstance(outcome, Gone):
            await self.disable(queue.name, outcome.reason, outcome.detail)
        elif queue.breaker.should_disable(now, queue.policy.disable_after):
            detail = f"no success for {queue.policy.disable_after:g} s"
            await self.disable(queue.name, "failing", detail)
        else:
            await self._note_health(queue)

    def _verdict(self, queue: EndpointQueue, delivery: Delivery, attempt: Attempt, now: Micros) -> Verdict:
        match attempt.outcome:
            case Delivered():
                return Done()
            case Rejected(reason=reason):
                return Dead(attempt=delivery.attempt + 1, reason=reason)
            case Gone(reason=reason):
                return Later(due=now, attempt=delivery.attempt, reason=reason)
            case Failed(reason=reason, retry_after=hint, spend=False):
                wait = retry.after_unspent(jitter=self._jitter(), retry_after=hint)
                return Later(due=now + round(wait * 1e6), attempt=delivery.attempt, reason=reason)
            case Failed(reason=reason, retry_after=hint):
                made = delivery.attempt + 1
                pause = retry.next_attempt(
                    attempts_made=made, schedule=queue.policy.schedule, jitter=self._jitter(), retry_after=hint
                )
                if pause is None:
                    return Dead(attempt=made, reason=reason)
                return Later(due=now + round(pause * 1e6), attempt=made, reason=reason)

    def _complain(
        self, queue: EndpointQueue, delivery: Delivery, attempt: Attempt, verdict: Verdict, now: Micros
    ) -> None:
        outcome = attempt.outcome
        if isinstance(outcome, Delivered):
            return
        fields: dict[str, object] = {
            "endpoint": queue.name,
            "delivery": delivery.id,
            "event": delivery.event_id,
            "attempt": delivery.attempt + 1,
            "reason": outcome.reason,
            "detail": outcome.detail,
        }
        if isinstance(verdict, Later):
            log.info("delivery.retrying", **fields, delay=round((verdict.due - now) / 1e6, 3))
        else:
            log.error("delivery.dead", **fields, hint=f"notifier delivery retry {delivery.id}")

    async def _settle(self, delivery: Delivery, verdict: Verdict, attempt: Attempt | None = None) -> None:
        """Save a verdict; send on what it released."""
        queue = self._queues.get(delivery.endpoint)
        take = queue is not None and not self._draining and queue.breaker.state is not State.DISABLED
        released = await self._store.settle(
            Settlement(delivery=delivery, verdict=verdict, at=self._clock(), attempt=attempt, take=take)
        )
        queue = self._queues.get(delivery.endpoint)
        if queue is not None:
            if isinstance(verdict, Later):
                queue.due(verdict.due)
                self._wake.set()
            elif not take:
                queue.backlog = True
        if released is not None:
            self.offer([released])

    async def _put_back(self, delivery: Delivery, *, after: float = 0.0) -> None:
        """Leave a delivery that was not tried to the store."""
        due = self._clock() + round(after * 1e6)
        try:
            await self._settle(delivery, Later(due=due, attempt=delivery.attempt))
        except StaleWrite:
            log.warning("delivery.not_ours", delivery=delivery.id, endpoint=delivery.endpoint)

    # -- an endpoint's health

    async def _note_health(self, queue: EndpointQueue) -> None:
        """Keep since when an endpoint fails, once it fails in earnest, and tell when that is over."""
        earnest = queue.breaker.state in (State.OPEN, State.HALF_OPEN)
        if earnest and queue.kept_failing_since is None:
            await self._keep(queue)
        elif queue.kept_failing_since is not None and queue.breaker.failing_since is None:
            seconds = (self._clock() - queue.kept_failing_since) / 1e6
            await self._keep(queue)
            await self._tell(
                EventType.ENDPOINT_RECOVERED, queue, {"reason": "answers again", "failed_seconds": round(seconds, 3)}
            )

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

    def _show(self, queue: EndpointQueue) -> None:
        for state in State:
            gauge = self._metrics.endpoint_state.labels(queue.name, state.value)
            gauge.set(1 if state is queue.breaker.state else 0)

    # -- tasks

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        if self._tasks is None:
            raise RuntimeError("the dispatcher is not running")
        self._tasks.create_task(work, name=name)

    def _retire(self, link: Link) -> None:
        link.retired = True
        if not link.users:
            self._spawn(link.sender.close(), "close sender")

    def _in_flight(self) -> int:
        return sum(queue.in_flight for queue in self._queues.values())
