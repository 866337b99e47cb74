"""What waits in memory to be sent to one endpoint, and whether anything may be sent to it now.

Memory holds a bounded part; the rest waits in the store. A place is kept for whatever may come without being asked
again: what is being committed, claimed or sent (whose end may release the next). Of one watch there is one delivery at
most: the store keeps the later ones back until it is settled.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace

from notifier.core.breaker import Breaker, State
from notifier.core.endpoint import needs_leader, unknown
from notifier.core.model import Delivery, EndpointState, Micros
from notifier.core.pace import TokenBucket
from notifier.core.retry import Attempt
from notifier.deliver.sender import Sender

AHEAD = 8  # deliveries kept in memory for each one in flight: enough never to starve, little to lose track of


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPolicy:
    """What an endpoint's owner asked for; times in seconds."""

    fingerprint: str  # of the URL
    schedule: tuple[float, ...]
    max_in_flight: int
    rate_limit: float | None  # a second
    latest: bool
    disable_after: float | None


@dataclass(slots=True, eq=False)
class Link:
    """A sender, closed once it is replaced and the last send through it has ended."""

    sender: Sender
    users: int = 0
    retired: bool = False

    async def send(self, delivery: Delivery) -> Attempt:
        """Try a delivery that nothing else is to come of; the sender stays open until it is done."""
        self.users += 1
        try:
            return await self.sender.send(delivery, lambda: True)
        finally:
            self.users -= 1
            if self.retired and not self.users:
                await self.sender.close()


class EndpointQueue:
    """One endpoint's deliveries in memory."""

    def __init__(self, name: str, sender: Sender, policy: EndpointPolicy, *, shared: bool = False) -> None:
        """Make ready; `shared`: other nodes send to the endpoint as well."""
        self.name = name
        self.shared = shared
        self.leading = False  # among those nodes, where only one may serve it
        self.passing = False  # the lead is to go to another node
        self.label = name  # in metrics
        self.origin: str | None = None  # for the log, of a destination that has no name of its own
        self.configured = True  # by name: its health is kept and told
        self.leaving = False  # takes nothing more, and is let go of once it is empty
        self.used = 0.0  # when something was taken to be sent, by the loop's clock
        self.link = Link(sender)
        self.policy = policy
        self.breaker = Breaker()
        self.disabled_reason: str | None = None
        self.kept = EndpointState(name=name, fingerprint=policy.fingerprint)  # what the store knows of it
        self.in_flight = 0
        self.aside = 0  # being put back into the store
        self.promised = 0  # places kept for deliveries that are being committed or claimed
        self.workers = 0
        self.backlog = True  # the store may hold deliveries that are due; at the start nobody knows
        self.next_due: Micros | None = None  # of those in the store
        self.timer: asyncio.TimerHandle | None = None
        self._queued: OrderedDict[int, Delivery] = OrderedDict()
        self._bucket = _bucket(policy)

    def __len__(self) -> int:
        return len(self._queued)

    @property
    def elsewhere(self) -> bool:
        """Say whether it is another node that serves the endpoint now."""
        if not self.shared or self.leading:
            return False
        return needs_leader(self.breaker.state, limited=self.policy.rate_limit is not None)

    @property
    def low(self) -> bool:
        """Say whether it is time to ask the store for more; not for every single one."""
        return len(self._queued) <= self.policy.max_in_flight

    @property
    def room(self) -> int:
        """Return how many more deliveries memory takes."""
        return max(0, AHEAD * self.policy.max_in_flight - len(self._queued) - self.in_flight - self.promised)

    @property
    def claimable(self) -> int:
        """Return how many deliveries may be claimed from the store.

        Some room is left to what is committed while a claim is under way: that would have to be claimed as well, and
        what comes during that claim too, so that under load nothing would skip the store ever again.
        """
        return max(0, self.room - self.policy.max_in_flight)

    def update(self, policy: EndpointPolicy) -> None:
        """Take a new policy; another URL is another endpoint, of whose health nothing is known."""
        if policy.rate_limit != self.policy.rate_limit:
            self._bucket = _bucket(policy)
        if policy.fingerprint != self.policy.fingerprint:
            self.breaker = Breaker()
            self.disabled_reason = None
            self.kept = unknown(self.kept, policy.fingerprint)
        self.policy = policy

    def relink(self, sender: Sender, now: Micros) -> Link:
        """Send through another sender from now on; return the link that it replaces."""
        before, self.link = self.link, Link(sender)
        if self.breaker.state is State.HALF_OPEN:  # the probe is out through the old one, and will not be judged
            self.breaker = replace(self.breaker, state=State.OPEN, not_before=now)
        return before

    def lead(self, leading: bool, tick: float) -> None:
        """Serve the endpoint for all nodes, or leave that to another; `tick` is the loop's time in seconds."""
        if leading and not self.leading and self._bucket is not None:
            # Whoever led until now may have sent a moment ago: as if it had been here.
            self._bucket.drain(tick)
        self.leading = leading
        self.passing = False

    def pause(self, delivery: Delivery, now: Micros) -> float:
        """Return the seconds that a delivery's first attempt is to wait: a schedule need not begin with 0 s."""
        first = self.policy.schedule[0]
        if not first or delivery.attempt:
            return 0.0
        return max(0.0, first - (now - delivery.observed_at) / 1e6)

    def push(self, delivery: Delivery) -> None:
        """Keep a delivery that is ready and ours."""
        self._queued[_key(delivery)] = delivery

    def overtake(self, lane: int, event_id: str) -> Delivery | None:
        """Give back the delivery of a watch that a newer event replaces, if it was not begun.

        The newer one may have come here first: it is released together with its commit if the one before is settled.
        """
        if lane in self._queued and self._queued[lane].event_id != event_id:
            return self._queued.pop(lane)
        return None

    def empty(self) -> list[Delivery]:
        """Give back everything that was not begun."""
        rest = list(self._queued.values())
        self._queued.clear()
        return rest

    def take(self, now: Micros, tick: float) -> tuple[Delivery, bool] | float | None:
        """Return the next delivery and whether it is the breaker's probe, the seconds to wait, or None: not for now.

        `now` is the wall clock's time, `tick` the loop's, in seconds.
        """
        if not self._queued or self.in_flight >= self.policy.max_in_flight or self.elsewhere:
            return None
        if not self.breaker.ready(now):
            wake_at = self.breaker.wake_at()
            return None if wake_at is None else (wake_at - now) / 1e6
        if self._bucket is not None:
            pause = self._bucket.wait(tick)
            if pause > 0:
                return pause
            self._bucket.take()
        self.breaker, probe = self.breaker.admit(now)
        self.in_flight += 1
        self.used = tick
        _, delivery = self._queued.popitem(last=False)
        return delivery, probe

    def ended(self) -> None:
        """Hear that an attempt is over, and its outcome saved."""
        self.in_flight -= 1

    def wants(self, now: Micros) -> int:
        """Return how many deliveries to claim from the store now."""
        if self.leaving or self.elsewhere:
            return 0
        due = self.backlog or (self.next_due is not None and self.next_due <= now)
        return self.claimable if due and self.low and self.breaker.ready(now) else 0

    def wait(self, now: Micros) -> float | None:
        """Return the seconds until `wants` may say more; None: not before something happens."""
        due = now if self.backlog else self.next_due
        ready = now if self.breaker.ready(now) else self.breaker.wake_at()
        if due is None or ready is None or not self.low or not self.claimable or self.leaving or self.elsewhere:
            return None
        return (max(due, ready, now) - now) / 1e6

    def due(self, at: Micros) -> None:
        """Remember that the store holds a delivery due at that time."""
        self.next_due = at if self.next_due is None else min(self.next_due, at)


def _key(delivery: Delivery) -> int:
    return -delivery.id if delivery.lane is None else delivery.lane


def _bucket(policy: EndpointPolicy) -> TokenBucket | None:
    return None if policy.rate_limit is None else TokenBucket(policy.rate_limit)
