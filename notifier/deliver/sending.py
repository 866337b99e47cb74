"""Who works at a queue, and what one attempt takes.

A queue has workers as long as there is something to begin; each makes one attempt after another. What an attempt says
of the endpoint goes to `endpoint_health.py`, what it says of the delivery to `settling.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from notifier.core.breaker import State
from notifier.core.errors import StaleWrite
from notifier.core.model import Delivery, Micros
from notifier.core.retry import Attempt, Failed, Outcome
from notifier.deliver.claiming import AFTER_OUTAGE, Claiming
from notifier.deliver.endpoint_queue import EndpointQueue, Link
from notifier.deliver.health import EndpointHealth
from notifier.deliver.settling import Begin, Settling

log = structlog.get_logger(__name__)

LEASE_LOOK = 0.25  # seconds between looks whether this node may send again


class Sending:
    """Sends what the queues hold."""

    def __init__(
        self,
        *,
        queues: Mapping[str, EndpointQueue],
        health: EndpointHealth,
        claiming: Claiming,
        settling: Settling,
        clock: Callable[[], Micros],
        may_send: Callable[[], bool],
        begin: Begin,
    ) -> None:
        """Make ready; `may_send` says whether what is held here can still be nobody else's."""
        self._queues = queues
        self._health = health
        self._claiming = claiming
        self._settling = settling
        self._clock = clock
        self._may_send = may_send
        self._begin = begin
        self._under_way = 0  # attempts
        self._idle = asyncio.Event()
        self._claims = 0  # times that all that was claimed became others'
        self._draining = False

    def pump(self, queue: EndpointQueue) -> None:
        """See that enough workers are at it: one more than are busy, as far as there is work for it."""
        if self._draining or self._queues.get(queue.name) is not queue:
            return
        if not len(queue) or queue.workers >= queue.policy.max_in_flight:
            return
        if self._begin(f"deliver {queue.name}", partial(self._work, queue)):
            queue.workers += 1

    def forget(self) -> None:
        """Hear that what was claimed is others' now; what is under way ends as it may."""
        self._claims += 1

    def retire(self, link: Link) -> None:
        """Let a sender go once nobody uses it any more."""
        link.retired = True
        if not link.users:
            self._begin("close sender", link.sender.close)

    async def drain(self, timeout: float) -> int:
        """Begin nothing more and wait for what is under way; return how many did not end within `timeout` seconds."""
        self._draining = True
        try:
            async with asyncio.timeout(timeout):
                while self._under_way:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            pass
        return self._under_way

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
                self.pump(queue)
                await self._deliver(queue, *taken)
        finally:
            queue.workers -= 1

    def _later(self, queue: EndpointQueue, wait: float | None) -> None:
        """Look again after `wait` seconds; None: whoever changes something will."""
        if wait is None:
            return
        if queue.timer is not None:
            queue.timer.cancel()
        queue.timer = asyncio.get_running_loop().call_later(max(wait, 0.001), self.pump, queue)

    async def _deliver(self, queue: EndpointQueue, delivery: Delivery, probe: bool) -> None:
        link = queue.link
        link.users += 1
        self._under_way += 1
        try:
            met = await self._conclude(queue, link, delivery, probe)
            if met is not None and self._queues.get(queue.name) is queue:
                await self._follow(queue, met)
        finally:
            queue.ended()
            self._claiming.ask(queue)
            self._under_way -= 1
            self._idle.set()
            link.users -= 1
            if link.retired and not link.users:
                await link.sender.close()

    async def _conclude(self, queue: EndpointQueue, link: Link, delivery: Delivery, probe: bool) -> Outcome | None:
        """Try one delivery, and keep what came of it; return that, if it tells of the endpoint.

        The boundary that keeps one delivery's fault from the rest.
        """
        met, claims = None, self._claims
        try:
            attempt = await self._attempt(link, delivery)
            # What a replaced sender met says nothing of the new one.
            if queue.link is link and self._queues.get(queue.name) is queue:
                met = attempt.outcome
                if self._health.judge(queue, met, probe=probe):
                    self._claiming.wake()
            if claims != self._claims:  # it may have been claimed anew since, by this node as well
                raise StaleWrite
            await self._settling.conclude(queue, delivery, attempt)
        except StaleWrite:
            log.warning("delivery.not_ours", delivery=delivery.id, endpoint=queue.name)
        except Exception:
            log.exception("delivery.failed", delivery=delivery.id, endpoint=queue.name)
            self._settling.put_back(delivery, after=AFTER_OUTAGE)
        return met

    async def _follow(self, queue: EndpointQueue, met: Outcome) -> None:
        """Keep what an answer says of its endpoint, whosever the delivery is by now.

        Else the breaker would be open here alone: with several nodes each would leave the endpoint to another.
        """
        try:
            await self._health.follow(queue, met)
        except Exception:
            log.exception("endpoint.not_kept", endpoint=queue.name)
        if queue.breaker.state is State.DISABLED or queue.elsewhere:
            self._settling.clear(queue)

    async def _attempt(self, link: Link, delivery: Delivery) -> Attempt:
        began, claims = self._clock(), self._claims
        try:
            return await link.sender.send(delivery, lambda: claims == self._claims and self._may_send())
        except Exception as exc:  # a sender has no business to raise; it costs an attempt, so that it cannot go on
            log.exception("sender.raised", delivery=delivery.id, endpoint=delivery.endpoint)
            detail = f"a fault of this program: {type(exc).__name__}"
            return Attempt(at=began, outcome=Failed(reason="internal", detail=detail, asked=False))
