"""From the outbox to the endpoints: claims what is due, has it sent, saves what became of it.

Order holds because the store releases the next delivery of a watch and endpoint only when the one before is settled.
Endpoints share nothing here but the loop: each has its own queue, workers and breaker.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from notifier.callback_queues import CallbackQueues, Courier
from notifier.core.breaker import State
from notifier.core.callback import is_callback
from notifier.core.endpoint import Want
from notifier.core.errors import StaleWrite, StoreUnavailable
from notifier.core.model import Delivery, EndpointState, Micros
from notifier.core.retry import Attempt, Delivered, Failed, Gone
from notifier.endpoint_health import Announce, EndpointHealth
from notifier.endpoint_queue import EndpointPolicy, EndpointQueue, Link
from notifier.interfaces import (
    Dead,
    Done,
    Later,
    Leads,
    Sender,
    Settlement,
    Store,
    Superseded,
    Verdict,
    claim_holds,
)
from notifier.metrics import Metrics
from notifier.verdict import verdict

log = structlog.get_logger(__name__)

LOOK_AGAIN = 10.0  # seconds between looks for deliveries that nobody announced
LEASE_LOOK = 0.25  # seconds between looks whether this node may send again
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
        announce: Announce,
        jitter: Callable[[], float] = random.random,
        may_send: Callable[[], bool] = lambda: True,
        look_again: float = LOOK_AGAIN,
        shared: bool = False,
    ) -> None:
        """Make ready; `may_send` says whether what is held here can still be nobody else's, `look_again` in seconds.

        `shared`: other nodes send as well, and `heed` tells what of them concerns this one.
        """
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._jitter = jitter
        self._health = EndpointHealth(
            store=store, metrics=metrics, clock=clock, announce=announce, recovered=self._recovered
        )
        self._queues: dict[str, EndpointQueue] = {}
        self._parted: dict[str, EndpointQueue] = {}  # of endpoints that the configuration names no more
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._may_send = may_send
        self._claims = 0  # times that all that was claimed became others'
        self._look_again = look_again
        self._shared = shared
        self._draining = False
        self._tasks: asyncio.TaskGroup | None = None
        self.callbacks = CallbackQueues(
            store=store,
            queues=self._queues,
            clock=clock,
            wake=self._wake.set,
            put_back=self._put_back,
            retire=self._retire,
        )

    @property
    def queues(self) -> Mapping[str, EndpointQueue]:
        """Return the queues by endpoint; those of callbacks are apart."""
        return {name: queue for name, queue in self._queues.items() if queue.configured}

    # -- what the recorder asks of it

    def promise(self, endpoint: str) -> bool:
        """Keep a place for a new delivery that may skip the store's queue, if nothing older waits there."""
        queue = self._queues.get(endpoint)
        if (
            queue is None
            or self._draining
            or queue.elsewhere
            or queue.backlog
            or queue.leaving
            or queue.room <= 0
            or not queue.breaker.ready(self._clock())
        ):
            return False
        queue.promised += 1
        return True

    def redeem(self, endpoint: str) -> None:
        """Take a promised place back."""
        queue = self._queues[endpoint] if endpoint in self._queues else self._parted[endpoint]
        queue.promised -= 1
        self._look(queue)

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Take deliveries that are ready and ours."""
        for delivery in deliveries:
            queue = self._queues.get(delivery.endpoint)
            if queue is None or queue.breaker.state is State.DISABLED or queue.elsewhere:
                self._put_back(delivery)
            elif (pause := queue.pause(delivery, self._clock())) > 0:
                self._put_back(delivery, after=pause)
            else:
                queue.push(delivery)
                self._pump(queue)

    def stored(self, endpoint: str) -> None:
        """Hear that the store holds a new delivery that is not ours yet."""
        queue = self._queues.get(endpoint)
        if queue is not None and not queue.backlog:
            queue.backlog = True
            self._wake.set()
        elif queue is None and is_callback(endpoint):
            self.callbacks.stir()

    def newer(self, endpoint: str, lane: int, event_id: str) -> None:
        """Let a newer state take the place of one that did not arrive yet."""
        queue = self._queues.get(endpoint)
        stale = queue.overtake(lane, event_id) if queue is not None else None
        if stale is not None:
            self._aside(stale, Superseded())

    # -- what the application asks of it

    def set_endpoints(self, setups: Mapping[str, EndpointSetup]) -> None:
        """Send to these endpoints; sends under way finish."""
        for name in self.queues.keys() - setups.keys():
            queue = self._parted[name] = self._queues.pop(name)
            _lead(queue, False)  # another node may take it over
            self._health.hide(queue)
            self._retire(queue.link)
            if queue.timer is not None:
                queue.timer.cancel()
            for delivery in queue.empty():
                self._put_back(delivery)
        for name, setup in setups.items():
            queue = self._queues[name] = self._set(name, setup)
            queue.update(setup.policy)
            self._health.show(queue)
            if queue.elsewhere:
                self._clear(queue)
            self._pump(queue)
        self._health.saved()  # what this node wants of others is another now
        self._wake.set()

    def _set(self, name: str, setup: EndpointSetup) -> EndpointQueue:
        if name in self._parted:  # it is back, and what was known of it holds
            queue = self._parted.pop(name)
            queue.relink(setup.sender, self._clock())
            queue.backlog = True
        elif name in self._queues:
            queue = self._queues[name]
            if setup.sender is not queue.link.sender:
                self._retire(queue.relink(setup.sender, self._clock()))
        else:
            queue = EndpointQueue(name, setup.sender, setup.policy, shared=self._shared)
        return queue

    def set_courier(self, courier: Courier | None) -> None:
        """Send to the callbacks of watches through it; None: keep what is for them."""
        before = self.callbacks.set_courier(courier)
        if before is not None and self._tasks is not None:
            self._tasks.create_task(before.close(), name="close callbacks")

    def recall(self, states: Sequence[EndpointState]) -> None:
        """Go on from what is known of the endpoints' health."""
        for state in states:
            if state.name in self._queues:
                self._health.recall(self._queues[state.name], state)

    async def disable(self, name: str, reason: str, detail: str) -> None:
        """Send no more to an endpoint; what is for it is kept. Operators are told."""
        queue = self._queues[name]
        try:
            await self._health.disable(queue, reason, detail)
        finally:
            self._clear(queue)

    async def enable(self, name: str) -> None:
        """Send to an endpoint again, whatever was thought of it."""
        queue = self._queues[name]
        try:
            await self._health.enable(queue)
        finally:
            queue.backlog = True
            self._wake.set()
            self._pump(queue)

    def wants(self) -> dict[str, Want]:
        """Return what this node asks for its endpoints, where one node has to serve for all."""
        return {
            name: Want(
                fingerprint=queue.policy.fingerprint,
                limited=queue.policy.rate_limit is not None,
                passing=queue.passing,
            )
            for name, queue in self._queues.items()
            if queue.shared
        }

    def heed(self, leads: Leads) -> None:
        """Take over what other nodes have met, and serve or leave what one node serves for all."""
        tick = asyncio.get_running_loop().time()
        for state in leads.states:
            queue = self._queues.get(state.name)
            if queue is None or not queue.shared:
                continue
            before = (queue.elsewhere, queue.breaker)
            self._health.heed(queue, state)
            _lead(queue, state.leader == leads.number, tick)
            if (queue.elsewhere, queue.breaker) != before:
                self._resume(queue)

    def resign(self) -> None:
        """Serve nothing for all nodes any more."""
        for queue in self._queues.values():
            _lead(queue, False)

    def on_saved(self, saved: Callable[[], None]) -> None:
        """Have `saved` told when this node has told others of an endpoint's state."""
        self._health.saved = saved

    def _resume(self, queue: EndpointQueue) -> None:
        """Go on as an endpoint's state says now."""
        if queue.elsewhere or queue.breaker.state is State.DISABLED:
            self._clear(queue)
            return
        queue.backlog = True
        self._wake.set()
        self._pump(queue)

    async def run(self) -> None:
        """Claim and send until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self.callbacks.run(), name="callbacks")
                for queue in self._queues.values():
                    self._pump(queue)
                await self._claim()
        finally:
            self._tasks = None

    def look(self) -> None:
        """Hear that the store may hold deliveries that are due."""
        for queue in self.queues.values():
            queue.backlog = True
        self.callbacks.stir()
        self._wake.set()

    def forget(self) -> None:
        """Hear that what waits here is others' now; what is under way ends as it may."""
        self.resign()
        self._claims += 1
        for queue in self._queues.values():
            queue.empty()
        self.look()

    async def drain(self, timeout: float, *, hand_over: bool = False) -> int:
        """Begin nothing more and wait for what is under way; return how many did not end within `timeout` seconds.

        `hand_over`: others may begin what was not begun.
        """
        self._draining = True
        self.callbacks.drain(hand_over=hand_over)
        if hand_over:
            for queue in self._queues.values():
                self._clear(queue)
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
        await self.callbacks.close()
        for queue in self.queues.values():
            if queue.timer is not None:
                queue.timer.cancel()
            await queue.link.sender.close()

    # -- claiming

    async def _claim(self) -> None:
        loop = asyncio.get_running_loop()
        look_again = loop.time() + self._look_again
        while True:
            self._wake.clear()
            if not self._draining:
                await self._claim_due()
            waits = [queue.wait(self._clock()) for queue in self._queues.values()]
            pause = min((seconds for seconds in waits if seconds is not None), default=self._look_again)
            pause = self._look_again if self._draining else min(pause, look_again - loop.time())
            try:
                async with asyncio.timeout(max(pause, 0.0)):
                    await self._wake.wait()
            except TimeoutError:
                pass  # it is time for whatever was waited for
            if loop.time() >= look_again:
                look_again = loop.time() + self._look_again
                self.look()

    async def _claim_due(self) -> None:
        now = self._clock()
        asked = {queue: count for queue in self._queues.values() if (count := queue.wants(now))}
        if not asked:
            return
        for queue, count in asked.items():
            queue.backlog = False  # what is stored from here on is announced again
            queue.promised += count
        try:
            claim = await self._store.claim_deliveries({queue.name: count for queue, count in asked.items()}, now=now)
        except StoreUnavailable:
            for queue in asked:
                queue.backlog = True
            await asyncio.sleep(AFTER_OUTAGE)
            return
        finally:
            for queue, count in asked.items():
                queue.promised -= count
        got = dict.fromkeys((queue.name for queue in asked), 0)
        for delivery in claim.deliveries:
            got[delivery.endpoint] += 1
        for queue, count in asked.items():
            queue.next_due = claim.next_due.get(queue.name)
            queue.backlog = queue.backlog or got[queue.name] >= count
        self.offer(claim.deliveries)

    def _look(self, queue: EndpointQueue) -> None:
        """Have the store asked, if there is reason to."""
        if queue.wants(self._clock()):
            self._wake.set()

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
                if not self._may_send():
                    self._later(queue, LEASE_LOOK)
                    return
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
        link, claims = queue.link, self._claims
        link.users += 1
        try:
            attempt = await self._attempt(link, delivery)
            judged = queue.link is link and self._queues.get(queue.name) is queue
            # What a replaced sender met says nothing of the new one.
            if judged and self._health.judge(queue, attempt.outcome, probe=probe):
                self._wake.set()
            if claims != self._claims:  # it may have been claimed anew since, by this node as well
                raise StaleWrite
            await self._conclude(queue, delivery, attempt)
            if judged and self._queues.get(queue.name) is queue:
                await self._health.follow(queue, attempt.outcome)
                if queue.breaker.state is State.DISABLED or queue.elsewhere:
                    self._clear(queue)
        except StaleWrite:
            log.warning("delivery.not_ours", delivery=delivery.id, endpoint=queue.name)
        except Exception:
            log.exception("delivery.failed", delivery=delivery.id, endpoint=queue.name)
            self._put_back(delivery, after=AFTER_OUTAGE)
        finally:
            queue.ended(delivery)
            self._look(queue)
            self._idle.set()
            link.users -= 1
            if link.retired and not link.users:
                await link.sender.close()

    async def _attempt(self, link: Link, delivery: Delivery) -> Attempt:
        began, claims = self._clock(), self._claims
        token = claim_holds.set(lambda: claims == self._claims and self._may_send())
        try:
            return await link.sender.send(delivery)
        except Exception as exc:  # a sender has no business to raise; it costs an attempt, so that it cannot go on
            log.exception("sender.raised", delivery=delivery.id, endpoint=delivery.endpoint)
            detail = f"a fault of this program: {type(exc).__name__}"
            return Attempt(at=began, outcome=Failed(reason="internal", detail=detail, asked=False))
        finally:
            claim_holds.reset(token)

    async def _conclude(self, queue: EndpointQueue, delivery: Delivery, attempt: Attempt) -> None:
        """Save what an attempt came to."""
        now = self._clock()
        outcome = attempt.outcome
        self._metrics.attempts.labels(queue.label, type(outcome).__name__.lower()).inc()
        said = verdict(outcome, delivery, schedule=queue.policy.schedule, now=now, jitter=self._jitter())
        if isinstance(said, Later) and queue.overtaken(delivery):
            said = Superseded()
        if isinstance(said, Done):
            self._metrics.latency.labels(queue.label).observe(max(0, now - delivery.observed_at) / 1e6)
        else:
            _complain(delivery, attempt, said, now, queue.origin)
        await self._settle(delivery, said, attempt)

    # -- settling

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
        released = await self._store.settle(
            Settlement(delivery=delivery, verdict=said, at=self._clock(), attempt=attempt, take=take)
        )
        queue = self._queues.get(delivery.endpoint)
        if queue is not None:
            if isinstance(said, Later):
                queue.due(said.due)
                self._wake.set()
            elif not take:
                self.stored(queue.name)
        elif isinstance(said, Later) or not take:
            self.stored(delivery.endpoint)
        if released is not None:
            self.offer([released])

    def _put_back(self, delivery: Delivery, *, after: float = 0.0) -> None:
        """Leave a delivery that came to nothing to the store."""
        self._aside(delivery, Later(due=self._clock() + round(after * 1e6), attempt=delivery.attempt))

    def _clear(self, queue: EndpointQueue) -> None:
        """Leave everything that was not begun to the store."""
        for delivery in queue.empty():
            self._put_back(delivery)

    # -- tasks

    def _recovered(self, queue: EndpointQueue, failing_since: Micros) -> None:
        """Have what an endpoint's outage held up sent soon, beside all else."""

        async def hasten() -> None:
            await self._health.hasten(queue, failing_since)
            self.stored(queue.name)

        if self._tasks is not None:
            self._tasks.create_task(hasten(), name=f"hasten {queue.name}")

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

        if self._tasks is not None:  # else the end has come: the next start frees what this one held
            self._tasks.create_task(settle(), name=f"settle {delivery.id}")

    def _retire(self, link: Link) -> None:
        link.retired = True
        if not link.users and self._tasks is not None:
            self._tasks.create_task(link.sender.close(), name="close sender")

    def _in_flight(self) -> int:
        return sum(queue.in_flight for queues in (self._queues, self._parted) for queue in queues.values())


def _lead(queue: EndpointQueue, leading: bool, tick: float = 0.0) -> None:
    if queue.leading != leading:
        log.info("endpoint.lead", endpoint=queue.name, leading=leading)
    queue.lead(leading, tick)


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
        case Superseded():
            log.info("delivery.superseded", **fields)
        case Dead() | Done():
            log.error("delivery.dead", **fields, hint=f"notifier delivery retry {delivery.id}")
