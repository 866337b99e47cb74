"""A destination that may gather: with `digest`, the deliveries of an interval are sent as one message.

They wait in the store. At the end of an interval they are claimed, one delivery that stands for all goes through the
flow and the sender like any other, and each is settled by its outcome. After a crash in between, those that were not
settled are in the next message. A failed message is tried again by the schedule, with whatever came meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from notifier.core.digest import MAX_EVENTS, boundary, together
from notifier.core.errors import StaleWrite, StoreUnavailable
from notifier.core.model import Delivery, Micros
from notifier.core.retry import Attempt
from notifier.deliver.destination import Destination
from notifier.deliver.environment import EndpointPolicy
from notifier.deliver.verdict import verdict
from notifier.store import Dead, Done, Later, Muted, Superseded, Verdict


class GatheringDestination(Destination):
    """Sends deliveries one by one, or those of an interval together."""

    _gathered: Sequence[Delivery] = ()  # those of the message that is under way
    _number = 0  # of the delivery that stands for them; it is negative, as those of the store are not
    _next_at: Micros | None = None  # when the interval ends in which deliveries were announced

    def sift(self) -> None:
        """Settle what waits in memory and is muted now; a digest is given back, and gathered again without it."""
        if not self._policy.people:
            return
        for delivery in self._queue.empty():
            if self._policy.digest is None:
                self.push(delivery)
            else:
                self._release(delivery)

    def update(self, policy: EndpointPolicy) -> None:
        """Take a new policy; with another interval, the present one ends at another time."""
        if policy.digest != self._policy.digest:
            self._next_at = None
        self._policy = policy
        self._flow.update(policy.max_in_flight, policy.rate_limit)
        self._queue.update(limit=policy.max_in_flight)

    def forget(self) -> None:
        """Drop everything that was not begun: it is other nodes' now."""
        self._gathered = ()
        super().forget()

    def _claim_wait(self) -> float | None:
        if self._policy.digest is None:
            return super()._claim_wait()
        queue, now = self._queue, self._clock()
        if self._gathered or not self._accepts:
            return None
        ready = self._flow.ready_at(now)
        if ready is None:
            return None
        if self._next_at is None:
            self._next_at = boundary(now, self._policy.digest)
        due = self._next_at
        if queue.next_due is not None and queue.next_due > now:  # a message that failed comes again by its schedule
            due = min(due, queue.next_due) if queue.backlog else queue.next_due
        return max(due - now, ready - now, 0) / 1e6

    async def _claim_some(self, count: int) -> None:
        if self._policy.digest is None:
            await super()._claim_some(count)
            return
        queue = self._queue
        queue.claiming()
        self._next_at = None
        try:
            claimed = await self._outbox.claim(self.name, MAX_EVENTS)
        except StoreUnavailable:
            queue.expect()
            return
        more = len(claimed.deliveries) >= MAX_EVENTS
        queue.claimed(more=more, next_due=claimed.next_due)
        if more:
            self._next_at = self._clock()  # the rest follows at once, at the endpoint's rate
        told: list[Delivery] = []
        for delivery in claimed.deliveries:
            if (mute := self._mutes.covering(delivery)) is None:
                told.append(delivery)
            else:
                self._settle_aside(delivery, Muted(mute=mute.id))
        if told:
            self._number -= 1
            self._gathered = told
            self.push(together(self._number, told))

    async def _settle_gathered(self, digest: Delivery, result: Verdict, attempt: Attempt | None) -> None:
        gathered = self._gathered
        if digest.id != self._number or not gathered:  # they are other nodes' now
            raise StaleWrite
        try:
            # Together, so that they share transactions. None keeps the others from being settled.
            await asyncio.gather(
                *(
                    self._settle_alone(each, self._of_each(each, result, attempt), attempt, release=True)
                    for each in gathered
                )
            )
        finally:
            if digest.id == self._number:  # else they were forgotten meanwhile, and others are gathered
                self._gathered = ()
            self._refill()

    def _of_each(self, delivery: Delivery, result: Verdict, attempt: Attempt | None) -> Verdict:
        """Return what the outcome of a message means for one of its deliveries, which may have been tried before."""
        match result:
            case Done() | Superseded() | Muted():
                return result
            case Later(due=due) if attempt is None:
                return Later(due=due, attempt=delivery.attempt)
            case Later() | Dead():  # pragma: no branch  the union has no other member
                assert attempt is not None
                return verdict(
                    attempt.outcome,
                    delivery,
                    schedule=self._policy.schedule,
                    now=self._clock(),
                    jitter=self._jitter(),
                )
