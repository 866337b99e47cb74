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
    """Lets attempts to one destination start."""

    def __init__(self, *, limit: int, rate: float | None) -> None:
        """Create an open gate; `limit` is of attempts in flight, `rate` of attempts a second."""
        self._limit = limit
        self._rate = rate
        self._bucket = _bucket(rate)
        self._breaker = Breaker()
        self._in_flight = 0

    @property
    def breaker(self) -> Breaker:
        """Return the breaker as it is now."""
        return self._breaker

    @property
    def state(self) -> State:
        """Return the breaker's state."""
        return self._breaker.state

    @property
    def in_flight(self) -> int:
        """Return how many attempts have entered and not left."""
        return self._in_flight

    @property
    def limit(self) -> int:
        """Return how many attempts may be in flight."""
        return self._limit

    def ready(self, now: Micros) -> bool:
        """Return whether the breaker lets an attempt start."""
        return self._breaker.ready(now)

    def ready_at(self, now: Micros) -> Micros | None:
        """Return when the breaker lets an attempt start; None if only an operator can change that."""
        return now if self._breaker.ready(now) else self._breaker.wake_at()

    def enter(self, now: Micros, tick: float) -> Permit | Wait:
        """Start an attempt, if one may start now."""
        if self._in_flight >= self._limit:
            return UNTIL_CHANGE
        if not self._breaker.ready(now):
            wake_at = self._breaker.wake_at()
            return UNTIL_CHANGE if wake_at is None else Wait(seconds=(wake_at - now) / 1e6)
        if self._bucket is not None:
            pause = self._bucket.wait(tick)
            if pause > 0:
                return Wait(seconds=pause)
            self._bucket.take()
        self._breaker, probe = self._breaker.admit(now)
        self._in_flight += 1
        return PROBE if probe else PERMIT

    def leave(self) -> None:
        """Record that an attempt has ended and its outcome is saved."""
        self._in_flight -= 1

    def record(self, outcome: Outcome, now: Micros, *, probe: bool) -> Breaker:
        """Record how an attempt ended; return the breaker after it."""
        self._breaker = self._breaker.record(outcome, now, probe=probe)
        return self._breaker

    def restore(self, breaker: Breaker) -> None:
        """Replace the breaker by one that follows from more than this node's attempts."""
        self._breaker = breaker

    def abandon_probe(self, now: Micros) -> None:
        """Let another probe start: nobody will judge the one that is out."""
        if self._breaker.state is State.HALF_OPEN:
            self._breaker = replace(self._breaker, state=State.OPEN, not_before=now)

    def update(self, *, limit: int, rate: float | None) -> None:
        """Take new limits; attempts in flight go on."""
        self._limit = limit
        if rate != self._rate:
            self._rate, self._bucket = rate, _bucket(rate)

    def pause(self, tick: float) -> None:
        """Delay the next attempt by the rate's interval, as if one had started at `tick`."""
        if self._bucket is not None:
            self._bucket.drain(tick)


def _bucket(rate: float | None) -> TokenBucket | None:
    return None if rate is None else TokenBucket(rate)
