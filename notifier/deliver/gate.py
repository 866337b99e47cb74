"""When the next attempt to a destination may start: the breaker, the rate and the number of attempts in flight decide.

The only place that consults the three. A worker calls `enter` before each attempt and `leave` after it; `record` takes
in how the attempt ended. Times: `now` is the wall clock's in microseconds, `tick` the loop's in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from notifier.core.breaker import Breaker, State
from notifier.core.model import Micros
from notifier.core.pace import TokenBucket
from notifier.core.retry import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """An attempt may start now."""

    probe: bool  # it is the breaker's probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """No attempt may start now."""

    seconds: float | None = None  # ask again then; None: when an attempt has ended, or somebody has changed something


PERMIT = Permit(probe=False)
PROBE = Permit(probe=True)
UNTIL_CHANGE = Wait()


class Gate:
    """Lets attempts to one destination start. Others read its public fields, and change them by methods alone."""

    __slots__ = ("_bucket", "_rate", "breaker", "in_flight", "limit")

    def __init__(self, *, limit: int, rate: float | None) -> None:
        """Create an open gate; `limit` is of attempts in flight, `rate` of attempts a second."""
        self.limit = limit  # of attempts in flight
        self._rate = rate
        self._bucket = _bucket(rate)
        self.breaker = Breaker()
        self.in_flight = 0  # attempts that have entered and not left

    @property
    def state(self) -> State:
        """Return the breaker's state."""
        return self.breaker.state

    def ready(self, now: Micros) -> bool:
        """Return whether the breaker lets an attempt start."""
        return self.breaker.ready(now)

    def ready_at(self, now: Micros) -> Micros | None:
        """Return when the breaker lets an attempt start; None if only an operator can change that."""
        return now if self.breaker.ready(now) else self.breaker.wake_at()

    def enter(self, now: Micros, tick: float) -> Permit | Wait:
        """Start an attempt, if one may start now."""
        if self.in_flight >= self.limit:
            return UNTIL_CHANGE
        if not self.breaker.ready(now):
            wake_at = self.breaker.wake_at()
            return UNTIL_CHANGE if wake_at is None else Wait(seconds=(wake_at - now) / 1e6)
        if self._bucket is not None:
            pause = self._bucket.wait(tick)
            if pause > 0:
                return Wait(seconds=pause)
            self._bucket.take()
        self.breaker, probe = self.breaker.admit(now)
        self.in_flight += 1
        return PROBE if probe else PERMIT

    def leave(self) -> None:
        """Record that an attempt has ended and its outcome is saved."""
        self.in_flight -= 1

    def record(self, outcome: Outcome, now: Micros, *, probe: bool) -> Breaker:
        """Record how an attempt ended; return the breaker after it."""
        self.breaker = self.breaker.record(outcome, now, probe=probe)
        return self.breaker

    def restore(self, breaker: Breaker) -> None:
        """Replace the breaker by one that follows from more than this node's attempts."""
        self.breaker = breaker

    def abandon_probe(self, now: Micros) -> None:
        """Let another probe start: nobody will judge the one that is out."""
        if self.breaker.state is State.HALF_OPEN:
            self.breaker = replace(self.breaker, state=State.OPEN, not_before=now)

    def update(self, *, limit: int, rate: float | None) -> None:
        """Take new limits; attempts in flight go on."""
        self.limit = limit
        if rate != self._rate:
            self._rate, self._bucket = rate, _bucket(rate)

    def pause(self, tick: float) -> None:
        """Delay the next attempt by the rate's interval, as if one had started at `tick`."""
        if self._bucket is not None:
            self._bucket.drain(tick)


def _bucket(rate: float | None) -> TokenBucket | None:
    return None if rate is None else TokenBucket(rate)
