"""From the outbox to the endpoints: which have a queue, and what goes into it.

What is due comes from `claiming.py`, is sent by `sending.py`, and what became of it goes to `settling.py`. Order holds
because the store releases the next delivery of a watch and endpoint only when the one before is settled. Endpoints
share nothing here but the loop: each has its own queue, workers and breaker.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from notifier.core.breaker import State
from notifier.core.callback import is_callback
from notifier.core.endpoint import LeaderRequest
from notifier.core.model import Delivery, EndpointState, Micros
from notifier.deliver.callbacks import CallbackQueues, Courier
from notifier.deliver.claiming import LOOK_AGAIN, Claiming
from notifier.deliver.endpoint_queue import EndpointPolicy, EndpointQueue
from notifier.deliver.health import Announce, EndpointHealth
from notifier.deliver.sender import Sender
from notifier.deliver.sending import Sending
from notifier.deliver.settling import Settling, Work
from notifier.runtime.metrics import Metrics
from notifier.store import Leadership, Store

log = structlog.get_logger(__name__)


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
        saved: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random.random,
        may_send: Callable[[], bool] = lambda: True,
        look_again: float = LOOK_AGAIN,
        shared: bool = False,
    ) -> None:
        """Make ready; `may_send` says whether what is held here can still be nobody else's, `look_again` in seconds.

        `saved` is called when this node has saved an endpoint's state for the others.
        `shared`: other nodes send as well, and `heed` tells what of them concerns this one.
        """
        self._clock = clock
        self._saved = saved
        self._health = EndpointHealth(
            store=store, metrics=metrics, clock=clock, announce=announce, saved=saved, recovered=self._recovered
        )
        self._queues: dict[str, EndpointQueue] = {}
        self._parted: dict[str, EndpointQueue] = {}  # of endpoints that the configuration names no more
        self._shared = shared
        self._draining = False
        self._handing_over = False
        self._tasks: asyncio.TaskGroup | None = None
        self._claiming = Claiming(
            store=store,
            queues=self._queues,
            clock=clock,
            offer=self.offer,
            look=self.look,
            look_again=look_again,
        )
        self._settling = Settling(
            store=store,
            queues=self._queues,
            metrics=metrics,
            clock=clock,
            jitter=jitter,
            begin=self._begin,
            offer=self.offer,
            stored=self.stored,
            wake=self._claiming.wake,
        )
        self._sending = Sending(
            queues=self._queues,
            health=self._health,
            claiming=self._claiming,
            settling=self._settling,
            clock=clock,
            may_send=may_send,
            begin=self._begin,
        )
        self.callbacks = CallbackQueues(
            store=store,
            queues=self._queues,
            clock=clock,
            wake=self._claiming.wake,
            put_back=self._settling.put_back,
            retire=self._sending.retire,
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
        self._claiming.ask(queue)

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Take deliveries that are ready and ours."""
        for delivery in deliveries:
            queue = self._queues.get(delivery.endpoint)
            if queue is None or self._handing_over or queue.breaker.state is State.DISABLED or queue.elsewhere:
                self._settling.put_back(delivery)
            elif (pause := queue.pause(delivery, self._clock())) > 0:
                self._settling.put_back(delivery, after=pause)
            else:
                queue.push(delivery)
                self._sending.pump(queue)

    def stored(self, endpoint: str) -> None:
        """Hear that the store holds a new delivery that is not ours yet."""
        queue = self._queues.get(endpoint)
        if queue is not None and not queue.backlog:
            queue.backlog = True
            self._claiming.wake()
        elif queue is None and is_callback(endpoint):
            self.callbacks.stir()

    def newer(self, endpoint: str, lane: int, event_id: str) -> None:
        """Let a newer state take the place of one that did not arrive yet."""
        queue = self._queues.get(endpoint)
        stale = queue.overtake(lane, event_id) if queue is not None else None
        if stale is not None:
            self._settling.supersede(stale)

    # -- what the application asks of it

    def set_endpoints(self, setups: Mapping[str, EndpointSetup]) -> None:
        """Send to these endpoints; sends under way finish."""
        for name in self.queues.keys() - setups.keys():
            queue = self._parted[name] = self._queues.pop(name)
            _lead(queue, False)  # another node may take it over
            self._health.hide(queue)
            self._sending.retire(queue.link)
            if queue.timer is not None:
                queue.timer.cancel()
            self._settling.clear(queue)
        for name, setup in setups.items():
            queue = self._queues[name] = self._set(name, setup)
            queue.update(setup.policy)
            self._health.show(queue)
            if queue.elsewhere:
                self._settling.clear(queue)
            self._sending.pump(queue)
        self._saved()  # what this node wants of others is another now
        self._claiming.wake()

    def _set(self, name: str, setup: EndpointSetup) -> EndpointQueue:
        if name in self._parted:  # it is back, and what was known of it holds
            queue = self._parted.pop(name)
            queue.relink(setup.sender, self._clock())
            queue.backlog = True
        elif name in self._queues:
            queue = self._queues[name]
            if setup.sender is not queue.link.sender:
                self._sending.retire(queue.relink(setup.sender, self._clock()))
        else:
            queue = EndpointQueue(name, setup.sender, setup.policy, shared=self._shared)
        return queue

    def set_courier(self, courier: Courier | None) -> None:
        """Send to the callbacks of watches through it; None: keep what is for them."""
        before = self.callbacks.set_courier(courier)
        if before is not None:
            self._begin("close callbacks", before.close)

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
            self._settling.clear(queue)

    async def enable(self, name: str) -> None:
        """Send to an endpoint again, whatever was thought of it."""
        queue = self._queues[name]
        try:
            await self._health.enable(queue)
        finally:
            queue.backlog = True
            self._claiming.wake()
            self._sending.pump(queue)

    def wants(self) -> dict[str, LeaderRequest]:
        """Return what this node asks for its endpoints, where one node has to serve for all."""
        return {
            name: LeaderRequest(
                fingerprint=queue.policy.fingerprint,
                limited=queue.policy.rate_limit is not None,
                passing=queue.passing,
            )
            for name, queue in self._queues.items()
            if queue.shared
        }

    def heed(self, leads: Leadership) -> None:
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

    def _resume(self, queue: EndpointQueue) -> None:
        """Go on as an endpoint's state says now."""
        if queue.elsewhere or queue.breaker.state is State.DISABLED:
            self._settling.clear(queue)
            return
        queue.backlog = True
        self._claiming.wake()
        self._sending.pump(queue)

    async def run(self) -> None:
        """Claim and send until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self.callbacks.run(), name="callbacks")
                for queue in self._queues.values():
                    self._sending.pump(queue)
                await self._claiming.run()
        finally:
            self._tasks = None

    def look(self) -> None:
        """Hear that the store may hold deliveries that are due."""
        for queue in self.queues.values():
            queue.backlog = True
        self.callbacks.stir()
        self._claiming.wake()

    def forget(self) -> None:
        """Hear that what waits here is others' now; what is under way ends as it may."""
        self.resign()
        self._sending.forget()
        for queue in self._queues.values():
            queue.empty()
        self.look()

    async def drain(self, timeout: float, *, hand_over: bool = False) -> int:
        """Begin nothing more and wait for what is under way; return how many did not end within `timeout` seconds.

        `hand_over`: others may begin what was not begun.
        """
        self._draining = True
        self._handing_over = hand_over  # what was being claimed comes too late
        self._claiming.drain()
        self._settling.drain()
        self.callbacks.drain(hand_over=hand_over)
        if hand_over:
            for queue in self._queues.values():
                self._settling.clear(queue)
        return await self._sending.drain(timeout)

    async def close(self) -> None:
        """Let the senders go; after `run` has ended."""
        await self.callbacks.close()
        for queue in self.queues.values():
            if queue.timer is not None:
                queue.timer.cancel()
            await queue.link.sender.close()

    # -- tasks

    def _recovered(self, queue: EndpointQueue, failing_since: Micros) -> None:
        """Have what an endpoint's outage held up sent soon, beside all else."""

        async def hasten() -> None:
            await self._health.hasten(queue, failing_since)
            self.stored(queue.name)

        self._begin(f"hasten {queue.name}", hasten)

    def _begin(self, name: str, work: Work) -> bool:
        """Begin a task beside all else, if this runs; say whether it does."""
        if self._tasks is None:
            return False
        self._tasks.create_task(work(), name=name)
        return True


def _lead(queue: EndpointQueue, leading: bool, tick: float = 0.0) -> None:
    if queue.leading != leading:
        log.info("endpoint.lead", endpoint=queue.name, leading=leading)
    queue.lead(leading, tick)
