"""When the next attempt to a destination may start: its flow and its configured rate decide.

The only place that consults both. A worker calls `enter` before each attempt and `leave` after it; `record` takes in
its outcome. Times: `now` is the wall clock's in microseconds, `tick` the loop's in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from notifier.core.breaker import SILENCE, Breaker, Silence, State
from notifier.core.condition import Condition, condition
from notifier.core.flow import Flow, Ticket
from notifier.core.model import Micros
from notifier.core.pace import TokenBucket
from notifier.core.recent import Shares
from notifier.core.retry import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """An attempt may start now."""

    ticket: Ticket

    @property
    def probe(self) -> bool:
        """Return whether it is the breaker's probe."""
        return self.ticket.probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """No attempt may start now."""

    seconds: float | None = None  # ask again then; None: when an attempt has ended, or somebody has changed something


UNTIL_CHANGE = Closed()


class Gate:
    """Lets attempts to one destination start."""

    def __init__(self, *, limit: int, rate: float | None, silence: Silence = SILENCE) -> None:
        """Create an open gate; `limit` is of attempts in flight, `rate` of attempts a second."""
        self._rate = rate
        self._bucket = _bucket(rate)
        self._flow = Flow(limit, silence=silence)

    @property
    def breaker(self) -> Breaker:
        """Return the breaker as it is now."""
        return self._flow.breaker

    @property
    def state(self) -> State:
        """Return the breaker's state."""
        return self._flow.breaker.state

    @property
    def in_flight(self) -> int:
        """Return how many attempts have entered and not left."""
        return self._flow.in_flight

    @property
    def limit(self) -> int:
        """Return how many attempts may be in flight now."""
        return self._flow.limit

    @property
    def workers(self) -> int:
        """Return how many workers can be busy: more than `limit` while disregarded attempts hang."""
        return self._flow.limit + self._flow.disregarded

    def shares(self, tick: float) -> Shares:
        """Return what the attempts of the last minute met."""
        return self._flow.recent.shares(tick)

    def condition(self, now: Micros, tick: float) -> Condition:
        """Return the destination's state in the words that people read."""
        return condition(self._flow.breaker, self.shares(tick), now)

    def ready(self, now: Micros) -> bool:
        """Return whether the breaker lets an attempt start."""
        return self._flow.breaker.ready(now)

    def ready_at(self, now: Micros) -> Micros | None:
        """Return when the breaker lets an attempt start; None if only an operator can change that."""
        return now if self.ready(now) else self._flow.breaker.wake_at()

    def enter(self, now: Micros, tick: float) -> Permit | Closed:
        """Start an attempt, if one may start now."""
        pause = self._flow.wait(now, tick)
        if pause is None:
            return UNTIL_CHANGE
        if pause == 0 and self._bucket is not None:
            pause = self._bucket.wait(tick)
        if pause > 0:
            return Closed(seconds=pause)
        if self._bucket is not None:
            self._bucket.take()
        return Permit(ticket=self._flow.admit(now, tick))

    def leave(self, permit: Permit, tick: float) -> None:
        """Record that an attempt has ended and its outcome is saved."""
        self._flow.ended(permit.ticket, tick)

    def record(self, permit: Permit, outcome: Outcome, now: Micros, tick: float, *, jitter: float) -> Micros | None:
        """Record how an attempt ended; return since when attempts failed, if it ends a short outage."""
        return self._flow.record(permit.ticket, outcome, now, tick, jitter=jitter)

    def restore(self, breaker: Breaker, tick: float) -> None:
        """Replace the breaker by one that follows from more than this node's attempts."""
        self._flow.set_breaker(breaker, tick)

    def renew(self) -> None:
        """Forget everything: another receiver stands behind the destination now. Attempts in flight go on."""
        self._flow.renew()

    def abandon(self, now: Micros, tick: float) -> None:
        """Disregard the attempts in flight, since nobody will judge them; another probe may start."""
        breaker = self._flow.breaker
        if breaker.state is State.HALF_OPEN:
            self._flow.set_breaker(replace(breaker, state=State.OPEN, not_before=now), tick)
        self._flow.disregard()

    def update(self, *, limit: int, rate: float | None) -> None:
        """Take new limits; attempts in flight go on."""
        self._flow.set_cap(limit)
        if rate != self._rate:
            self._rate, self._bucket = rate, _bucket(rate)

    def pause(self, tick: float) -> None:
        """Delay the next attempt by the rate's interval, as if one had started at `tick`."""
        if self._bucket is not None:
            self._bucket.drain(tick)


def _bucket(rate: float | None) -> TokenBucket | None:
    return None if rate is None else TokenBucket(rate)
