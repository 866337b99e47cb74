"""One receiver of deliveries: its queue in memory, its flow, its sender, and the workers that send.

A destination owns all of its state; others ask it by methods. A worker takes a delivery, attempts it, judges the
destination by the outcome, settles the delivery and pushes the one that this releases. The order of a watch's
deliveries holds because the store releases the next one only then. Destinations share nothing but the event loop.

The file is long because the class is one: its parts would only call each other back.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from enum import Enum, auto

import structlog
from structlog.contextvars import bind_contextvars, reset_contextvars

from notifier.core.breaker import Breaker, State
from notifier.core.condition import Condition, word
from notifier.core.digest import DIGEST
from notifier.core.errors import StaleWrite, StoreUnavailable
from notifier.core.flow import Flow, Ticket
from notifier.core.model import Delivery, Micros
from notifier.core.recent import Shares
from notifier.core.retry import Attempt, Delivered, Failed, Outcome
from notifier.core.trace import trace_id
from notifier.deliver.environment import EndpointPolicy, Environment
from notifier.deliver.outbox import AFTER_OUTAGE, log_attempt, log_verdict
from notifier.deliver.queue import DeliveryQueue
from notifier.deliver.sender import Link, Sender, StillOurs
from notifier.deliver.tasks import Alarm
from notifier.deliver.verdict import verdict
from notifier.runtime.counters import Counter, Histogram
from notifier.runtime.tracing import UNTRACED
from notifier.store import Done, Later, Muted, Recovery, Settlement, Superseded, Verdict

log = structlog.get_logger(__name__)

DONE = Done()
LEASE_LOOK = 0.25  # seconds between looks whether this node may send again


class Lifecycle(Enum):
    """Where a destination is between its start and its end."""

    OPEN = auto()  # it takes deliveries and sends them
    DRAINING = auto()  # what is in flight ends; nothing more is claimed or begun
    HANDING_OVER = auto()  # the same, and what was not begun goes back to the store, for other nodes
    REMOVED = auto()  # the configuration names it no more: everything goes back; what is in flight ends


class Destination:
    """Sends to one receiver."""

    def __init__(
        self, name: str, *, label: str, sender: Sender, policy: EndpointPolicy, environment: Environment
    ) -> None:
        """Create a destination; `label` stands for it in metrics."""
        self.name = name
        self._policy = policy
        self._store = environment.store
        self._outbox = environment.outbox
        self._tasks = environment.tasks
        self._clock = environment.clock
        self._metrics = environment.metrics
        self._label = label
        self._counters: dict[type[Outcome], Counter] = {}  # looking one up by its labels is slow
        self._latency: Histogram | None = None
        self._tracing = environment.tracing
        self._mutes = environment.mutes
        self._jitter = environment.jitter
        self._link = Link(sender)
        self._flow = Flow(policy.max_in_flight, rate_limit=policy.rate_limit, silence=environment.silence)
        self._queue = DeliveryQueue(limit=policy.max_in_flight)
        self._phase = Lifecycle.OPEN
        self._workers = 0
        self._starting = 0  # of the workers, those that have not run yet: each will look for work
        self._working = f"deliver {name}"  # the name of their tasks
        self._work_alarm = Alarm(self.start_workers)
        self._claiming = False
        self._claim_alarm = Alarm(self._refill)
        self._aside = 0  # tasks that settle deliveries without an attempt, or bring them forward
        self._losses = 0  # times that everything claimed became other nodes'
        self._well_since = self._clock()  # since when it accepts anything, as far as this process knows
        self._idle = asyncio.Event()

    # -- what others see

    @property
    def waiting(self) -> int:
        """Return how many deliveries wait in memory for an attempt."""
        return len(self._queue.waiting)

    @property
    def state(self) -> State:
        """Return the breaker's state."""
        return self._flow.breaker.state

    @property
    def limit(self) -> int:
        """Return how many attempts may be in flight now."""
        return self._flow.limit

    @property
    def shares(self) -> Shares:
        """Return what the attempts of the last minute met."""
        return self._flow.recent.shares(time.monotonic())

    @property
    def in_flight(self) -> int:
        """Return how many attempts are under way or being saved."""
        return self._flow.in_flight

    @property
    def reserved(self) -> int:
        """Return how many places are reserved for deliveries that are being committed or claimed."""
        return self._queue.reserved

    @property
    def backlog(self) -> bool:
        """Return whether the store may hold deliveries that are due."""
        return self._queue.backlog

    @property
    def sender(self) -> Sender:
        """Return the sender of new attempts."""
        return self._link.sender

    # -- deliveries come in

    def reserve(self) -> bool:
        """Reserve a place for a delivery that is being committed, unless it has to wait in the store."""
        if (
            not self._accepts
            or self._policy.digest is not None
            or self._queue.backlog
            or self._queue.room(self._flow.in_flight) <= 0
            or not (self._flow.breaker.state is State.CLOSED or self._flow.breaker.ready(self._clock()))
        ):
            return False
        self._queue.reserve()
        return True

    def free(self) -> None:
        """Free a reserved place: its delivery was pushed, or there is none."""
        self._queue.free()
        self._refill()

    def push(self, delivery: Delivery) -> None:
        """Take a delivery that is ready and this node's; give it back if it cannot be sent from here, or not yet."""
        refused = self._phase in (Lifecycle.HANDING_OVER, Lifecycle.REMOVED)
        to_gather = self._policy.digest is not None and delivery.event_type != DIGEST
        if refused or to_gather or self._flow.breaker.state is State.DISABLED or not self._serves:
            self._release(delivery)
        elif self._policy.people and (mute := self._mutes.covering(delivery)) is not None:
            self._settle_aside(delivery, Muted(mute=mute.id))
        elif self._policy.schedule[0] and (pause := self._first_wait(delivery)) > 0:
            self._release(delivery, after=pause)
        else:
            self._queue.push(delivery)
            self.start_workers()

    def expect(self, due: Micros | None = None) -> None:
        """Record that the store holds a delivery that is nobody's, due then; None: now."""
        self._queue.expect(due)
        self._refill()

    def overtake(self, lane: int, event_id: str) -> None:
        """Let a newer event of a watch take the place of the one that waits, if the endpoint wants only the latest."""
        stale = self._queue.overtake(lane, event_id)
        if stale is not None:
            self._settle_aside(stale, Superseded())

    async def attempt(self, delivery: Delivery) -> Attempt:
        """Send a delivery that is in no outbox, such as a test; nothing follows from its outcome."""
        link = self._link.acquire()
        try:
            return await link.sender.send(delivery, lambda: True)
        finally:
            if link.release():
                await link.sender.close()

    # -- what changes it

    def start(self) -> None:
        """Claim and send, as far as there is anything to do."""
        self.start_workers()
        self._refill()

    def relink(self, sender: Sender) -> None:
        """Send through another sender from now on; the old one is closed after its last attempt."""
        before, self._link = self._link, Link(sender)
        self._flow.abandon(self._clock(), time.monotonic())  # attempts through the old sender will not be judged
        self._retire(before)

    def clear(self) -> None:
        """Give everything back that was not begun."""
        for delivery in self._queue.empty():
            self._release(delivery)

    def forget(self) -> None:
        """Drop everything that was not begun: it is other nodes' now. Attempts in flight end, and settle nothing."""
        self._losses += 1
        self._queue.empty()
        self.expect()

    def drain(self, *, hand_over: bool) -> None:
        """Begin nothing more; with `hand_over`, leave what was not begun to other nodes."""
        if self._phase is not Lifecycle.REMOVED:
            self._phase = Lifecycle.HANDING_OVER if hand_over else Lifecycle.DRAINING
        self._cancel_alarms()
        if hand_over:
            self.clear()

    async def drained(self) -> None:
        """Wait until no attempt is in flight."""
        while self._flow.in_flight:
            self._idle.clear()
            await self._idle.wait()

    async def close(self) -> None:
        """Close the sender, after all tasks have ended."""
        self._cancel_alarms()
        await self._link.sender.close()

    # -- what subclasses decide

    @property
    def _serves(self) -> bool:
        """Return whether this node sends to it now, not another one."""
        return True

    @property
    def _accepts(self) -> bool:
        """Return whether it takes deliveries that are due."""
        return self._phase is Lifecycle.OPEN and self._serves

    @property
    def _url(self) -> str | None:
        """Return the part of its URL that is no secret, if it has no name that people know."""
        return None

    def _state_changed(self, before: Breaker) -> None:
        """Act on a breaker whose state an attempt has changed."""
        now, was = word(self._flow.breaker.state), word(before.state)
        if now is not was and now is not Condition.DISABLED:
            log.info("endpoint.state", endpoint=self.name, state=now.value, was=was.value)

    async def _follow(self, outcome: Outcome, ended: Micros) -> None:
        """Save and announce what follows from an attempt for the destination."""

    async def _settle_gathered(self, digest: Delivery, result: Verdict, attempt: Attempt | None) -> None:
        """Settle the deliveries that a digest stands for."""
        raise NotImplementedError

    # -- workers

    def start_workers(self) -> None:
        """Start a worker more, if there is work for it that no other is about to take."""
        enough = self._starting >= len(self._queue.waiting) or self._workers >= self._flow.workers
        if not enough and self._phase is Lifecycle.OPEN and self._tasks.start(self._working, self._work()):
            self._workers += 1
            self._starting += 1

    async def _work(self) -> None:
        """Make one attempt after another while there is something to begin."""
        self._starting -= 1
        loop = asyncio.get_running_loop()
        try:
            while self._phase is Lifecycle.OPEN:
                if not self._queue.waiting or not self._serves:
                    return
                if not self._store.holds():
                    self._work_alarm.set(LEASE_LOOK)
                    return
                tick = loop.time()
                now = self._clock()
                pause = self._flow.wait(now, tick)
                if pause != 0:
                    if pause is not None:
                        self._work_alarm.set(pause)
                    return
                ticket = self._flow.admit(now, tick)
                delivery = self._queue.pop()
                if self._queue.waiting:
                    self.start_workers()
                await self._deliver(delivery, ticket)
        finally:
            self._workers -= 1

    # -- the way of one delivery

    async def _deliver(self, delivery: Delivery, ticket: Ticket) -> None:
        """Attempt a delivery, settle it, and do what follows from the outcome for the destination.

        An exception ends here, so that one delivery does not harm the others.
        """
        link, losses, outcome = self._link.acquire(), self._losses, None
        try:
            trace = {} if delivery.traceparent is None else bind_contextvars(trace_id=trace_id(delivery.traceparent))
            send = self._send if self._tracing is UNTRACED else self._send_traced
            try:
                attempt = await send(
                    link.sender, delivery, ticket, lambda: losses == self._losses and self._store.holds()
                )
                now = self._clock()
                if (at := self._clock.dated(attempt.at, now)) != attempt.at:  # the clock was set meanwhile
                    attempt = replace(attempt, at=at)
                # Of an attempt through a sender that was replaced, nothing follows for the new one.
                if self._link is link and self._phase is not Lifecycle.REMOVED:
                    outcome = attempt.outcome
                    self._judge(outcome, ticket, now)
                if losses != self._losses:  # it may have been claimed anew since, even by this node
                    raise StaleWrite
                self._count(attempt.outcome, delivery, now)
                # An attempt is accepted nearly always; no chance decides then.
                accepted = isinstance(attempt.outcome, Delivered)
                result = DONE if accepted else self._verdict(delivery, attempt.outcome, now)
                await self._settle(delivery, result, now, attempt)
            except StaleWrite:
                log.warning("delivery.not_ours", delivery=delivery.id, endpoint=self.name)
            except Exception:
                log.exception("delivery.failed", delivery=delivery.id, endpoint=self.name)
                self._release(delivery, after=AFTER_OUTAGE)
            finally:
                if trace:
                    reset_contextvars(**trace)
            if outcome is not None and self._phase is not Lifecycle.REMOVED:
                await self._follow(outcome, now)
        finally:
            self._flow.ended(ticket, time.monotonic())
            self._refill()
            if not self._flow.in_flight:
                self._idle.set()
            if link.release():
                await link.sender.close()

    async def _send(self, sender: Sender, delivery: Delivery, ticket: Ticket, still_ours: StillOurs) -> Attempt:
        """Try once. Raises nothing but CancelledError."""
        try:
            return await sender.send(delivery, still_ours)
        except Exception as exc:  # a sender must not raise; it costs an attempt, so that it cannot go on
            log.exception("sender.raised", delivery=delivery.id, endpoint=self.name)
            detail = f"a fault of this program: {type(exc).__name__}"
            return Attempt(at=ticket.began, outcome=Failed(reason="internal", detail=detail, proves=False))

    def _judge(self, outcome: Outcome, ticket: Ticket, now: Micros) -> None:
        """Judge the destination by an outcome."""
        before = self._flow.breaker
        since = self._flow.record(ticket, outcome, now, time.monotonic(), jitter=self._jitter())
        if since is not None:
            self._hasten(since)
        if self._flow.breaker.state is not before.state:
            if self._flow.breaker.state is State.CLOSED:
                self._well_since = now
            self._state_changed(before)
            self._refill()

    def _verdict(self, delivery: Delivery, outcome: Outcome, now: Micros) -> Verdict:
        return verdict(
            outcome,
            delivery,
            schedule=self._policy.schedule,
            now=now,
            jitter=self._jitter(),
            refused_share=self.shares.by_chance if isinstance(outcome, Failed) else 0.0,
            draw=self._jitter(),
            age=min(self._clock.elapsed(at, now) for at in (delivery.observed_at, self._well_since)) / 1e6,
        )

    async def _settle(self, delivery: Delivery, result: Verdict, at: Micros, attempt: Attempt | None = None) -> None:
        """Save what became of a delivery, and push the one that this releases."""
        if delivery.event_type == DIGEST:
            await self._settle_gathered(delivery, result, attempt)
            return
        latest = self._policy.latest
        # Whether it takes the delivery that this makes ready; otherwise that waits in the store.
        take = self._accepts and self._policy.digest is None and self._flow.breaker.state is not State.DISABLED
        settlement = Settlement(delivery=delivery, verdict=result, at=at, attempt=attempt, take=take, latest=latest)
        urgent = bool(self._queue.waiting)  # they wait for the place that this one holds until its verdict is saved
        if result is DONE:  # as nearly always; there is nothing to log
            released = await self._store.outbox.settle(settlement, urgent=urgent)
        else:
            log_attempt(settlement, self._url)
            released = await self._store.outbox.settle(settlement, urgent=urgent)
            log_verdict(settlement, released)
            if isinstance(result, Later):
                self.expect(result.due)
        if not take and (latest or not isinstance(result, Later)):
            self.expect()
        if released is not None:
            self.push(released)

    # -- beside that way

    async def _send_traced(self, sender: Sender, delivery: Delivery, ticket: Ticket, still_ours: StillOurs) -> Attempt:
        """Try once, within a span."""
        about = {
            "notifier.endpoint": self.name,
            "notifier.event": delivery.event_id,
            "notifier.type": delivery.event_type,
        }
        with self._tracing.span("attempt", delivery.traceparent, about, request=True) as span:
            if span.traceparent != delivery.traceparent:
                delivery = replace(delivery, traceparent=span.traceparent)
            attempt = await self._send(sender, delivery, ticket, still_ours)
            if attempt.status is not None:
                span.note(**{"http.response.status_code": attempt.status})
            if not isinstance(attempt.outcome, Delivered):
                span.fail(attempt.outcome.reason)
            return attempt

    def _count(self, outcome: Outcome, delivery: Delivery, now: Micros) -> None:
        """Count an outcome, and measure how long after its observation a delivery was accepted."""
        kind = type(outcome)
        counter = self._counters.get(kind)
        if counter is None:
            counter = self._counters[kind] = self._metrics.attempts.labels(self._label, kind.__name__.lower())
        counter.value += 1
        if kind is Delivered:
            if self._latency is None:
                self._latency = self._metrics.latency.labels(self._label)
            self._latency.observe(max(0, now - delivery.observed_at) / 1e6)

    def _first_wait(self, delivery: Delivery) -> float:
        """Return the seconds that a delivery's first attempt has to wait: a schedule need not begin with 0 s."""
        if delivery.attempt:
            return 0.0
        return max(0.0, self._policy.schedule[0] - self._clock.elapsed(delivery.observed_at, self._clock()) / 1e6)

    def _release(self, delivery: Delivery, *, after: float = 0.0) -> None:
        """Give a delivery back to the store, for `after` seconds at least."""
        self._settle_aside(delivery, Later(due=self._clock() + round(after * 1e6), attempt=delivery.attempt))

    def _settle_aside(self, delivery: Delivery, result: Verdict) -> None:
        """Settle a delivery without an attempt, in a task of its own."""
        # If the process is stopping it is not started: the next start frees what this one held.
        self._aside += self._tasks.start(f"settle {delivery.id}", self._settled_aside(delivery, result))

    async def _settled_aside(self, delivery: Delivery, result: Verdict) -> None:
        try:
            await self._settle_alone(delivery, result, release=False)
        finally:
            self._aside -= 1

    async def _settle_alone(
        self, delivery: Delivery, result: Verdict, attempt: Attempt | None = None, *, release: bool
    ) -> None:
        """Settle a delivery; an exception ends here. `release`: after a fault of ours, give the delivery back."""
        try:
            await self._settle(delivery, result, self._clock(), attempt)
        except StaleWrite:
            log.warning("delivery.not_ours", delivery=delivery.id, endpoint=self.name)
        except Exception:
            log.exception("delivery.failed", delivery=delivery.id, endpoint=self.name)
            if release:
                self._release(delivery, after=AFTER_OUTAGE)

    def _hasten(self, failing_since: Micros) -> None:
        """Bring forward what failed since then, in a task of its own: the destination is well again."""
        self._aside += self._tasks.start(f"hasten {self.name}", self._hastened(failing_since))

    async def _hastened(self, failing_since: Micros) -> None:
        try:
            now = self._clock()
            created_after = now - round(sum(self._policy.schedule) * 1e6)
            await self._outbox.hasten(
                Recovery(endpoint=self.name, at=now, failing_since=failing_since, created_after=created_after)
            )
            self.expect()
        finally:
            self._aside -= 1

    # -- claims

    def _refill(self) -> None:
        """Claim more deliveries, now or as soon as that is possible."""
        queue = self._queue
        if self._claiming or not (queue.backlog or queue.next_due is not None):
            return
        wait = self._claim_wait()
        if wait is None:
            return
        if wait > 0:
            self._claim_alarm.set(wait)
        else:
            self._claiming = self._tasks.start(f"claim {self.name}", self._claim())

    def _claim_wait(self) -> float | None:
        """Return the seconds until there is reason and room to claim; None: not before something happens."""
        queue = self._queue
        if not self._accepts or not queue.low or queue.claimable(self._flow.in_flight) <= 0:
            return None
        now = self._clock()
        ready = self._flow.ready_at(now)
        if ready is None:
            return None
        due = now if queue.backlog or queue.next_due is None else queue.next_due
        return max(due - now, ready - now, 0) / 1e6

    async def _claim(self) -> None:
        """Claim what there is room for."""
        queue = self._queue
        count = queue.claimable(self._flow.in_flight)
        try:
            if count > 0:
                await self._claim_some(count)
        finally:
            self._claiming = False
            self._refill()

    async def _claim_some(self, count: int) -> None:
        queue = self._queue
        queue.claiming()
        queue.reserve(count)
        try:
            claimed = await self._outbox.claim(self.name, count)
        except StoreUnavailable:
            queue.expect()
            return
        finally:
            queue.free(count)
        queue.claimed(more=len(claimed.deliveries) >= count, next_due=claimed.next_due)
        for delivery in claimed.deliveries:
            self.push(delivery)

    def _cancel_alarms(self) -> None:
        self._work_alarm.cancel()
        self._claim_alarm.cancel()

    def _retire(self, link: Link) -> None:
        if link.retire():
            self._tasks.start("close sender", link.sender.close())
