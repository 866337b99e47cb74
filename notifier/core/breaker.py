"""Holds a sick endpoint back: an immutable value and a table of what changes it. Pure; `now` enters as an argument.

Closed lets everything through. After TRIP_AFTER failures in a row it opens: nothing goes out until a cool-down is over,
then a single probe, whose failure doubles the cool-down; any success closes it. Apart from that an endpoint that asks
for patience, or that we cannot reach for a reason of our own, is throttled: nothing goes out for a while, then
everything again. Disabled is final until somebody enables the endpoint.

A caller keeps one Breaker for each endpoint, replaces it by what the methods return, and tells of every change of
`state`:

    if breaker.ready(now):
        breaker, probe = breaker.admit(now)
        breaker = breaker.record(outcome, now, probe=probe)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto

from notifier.core.model import Micros
from notifier.core.retry import LONGEST_OBEYED, Delivered, Failed, Gone, Outcome, Rejected

TRIP_AFTER = 5  # failures in a row: one burst of bad luck is less
FIRST_WAIT = 1.0  # seconds of the first cool-down, and of a throttling that names no time
LONGEST_WAIT = 60.0  # seconds of the longest: how late a recovery may be noticed
PROBE_PATIENCE = 120.0  # seconds until a probe that was never heard of again is replaced


class State(StrEnum):
    """What an endpoint may be sent now; a label of metrics."""

    CLOSED = "closed"  # everything
    THROTTLED = "throttled"  # nothing before `not_before`, then everything
    OPEN = "open"  # nothing before `not_before`, then one probe
    HALF_OPEN = "half_open"  # nothing: the probe is out
    DISABLED = "disabled"  # nothing until somebody enables it


class Signal(Enum):
    """What can happen to a breaker."""

    ADMITTED = auto()  # an attempt goes out
    WELL = auto()  # the endpoint answered as it should
    FAILED = auto()  # an attempt failed and counts; fewer than TRIP_AFTER in a row
    TRIPPED = auto()  # the same, and they are enough
    HELD = auto()  # the endpoint asks for patience, or the fault is our own
    PROBE_FAILED = auto()  # the probe failed, for whatever reason
    PROBE_UNSENT = auto()  # the probe never reached the endpoint, by a fault of the message or of this program
    DISABLED = auto()  # the endpoint is gone, or failed for too long, or somebody disabled it
    ENABLED = auto()  # somebody enabled it


_TABLE: dict[Signal, tuple[State, State, State, State, State]] = {  # by signal, then by state in the order of State
    # signal             closed           throttled        open             half_open        disabled
    Signal.ADMITTED: (State.CLOSED, State.CLOSED, State.HALF_OPEN, State.HALF_OPEN, State.DISABLED),
    Signal.WELL: (State.CLOSED, State.THROTTLED, State.CLOSED, State.CLOSED, State.DISABLED),
    Signal.FAILED: (State.CLOSED, State.THROTTLED, State.OPEN, State.HALF_OPEN, State.DISABLED),
    Signal.TRIPPED: (State.OPEN, State.OPEN, State.OPEN, State.HALF_OPEN, State.DISABLED),
    Signal.HELD: (State.THROTTLED, State.THROTTLED, State.OPEN, State.HALF_OPEN, State.DISABLED),
    Signal.PROBE_FAILED: (State.CLOSED, State.THROTTLED, State.OPEN, State.OPEN, State.DISABLED),
    Signal.PROBE_UNSENT: (State.CLOSED, State.THROTTLED, State.OPEN, State.OPEN, State.DISABLED),
    Signal.DISABLED: (State.DISABLED, State.DISABLED, State.DISABLED, State.DISABLED, State.DISABLED),
    Signal.ENABLED: (State.CLOSED, State.CLOSED, State.CLOSED, State.CLOSED, State.CLOSED),
}
_COLUMN = {state: column for column, state in enumerate(State)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """One endpoint's health. `Breaker()` is well; a stored one begins with `state` and `failing_since`."""

    state: State = State.CLOSED
    not_before: Micros = 0  # nothing goes out before; in HALF_OPEN: when the probe counts as lost
    since: Micros = 0  # when `not_before` was set
    failures: int = 0  # that count, since the last success
    failing_since: Micros | None = None  # the first of them; outlives a restart
    rounds: int = 0  # cool-downs or throttlings in a row, on which the next one's length depends

    def ready(self, now: Micros) -> bool:
        """Say whether an attempt may go out."""
        if self.state is State.CLOSED or self.state is State.DISABLED:
            return self.state is State.CLOSED
        return now >= self.not_before or now < self.since  # a clock that was set back must not hold it for hours

    def wake_at(self) -> Micros | None:
        """Return when to ask again if not ready, or sooner; None when only somebody's hand can change it."""
        return None if self.state is State.DISABLED else self.not_before

    def admit(self, now: Micros) -> tuple[Breaker, bool]:
        """Let one attempt out, having asked `ready`; the second value says that it is the probe."""
        state = self._after(Signal.ADMITTED)
        if state is State.HALF_OPEN:
            return replace(self, state=state, since=now, not_before=now + _micros(PROBE_PATIENCE)), True
        return (self if state is self.state else replace(self, state=state)), False

    def record(self, outcome: Outcome, now: Micros, *, probe: bool = False) -> Breaker:
        """Take in how an attempt ended; attempts that went out before the breaker opened may still come in."""
        match outcome:
            case Rejected(well=None) | Failed(asked=False):
                return self._unsent(now) if probe else self
            case Rejected(well=False):
                return self._failed(Failed(reason=outcome.reason), now, probe=probe)
            case Delivered() | Rejected():  # who rejects a message is well
                return self._well()
            case Gone():
                return self.disable()
            case Failed():  # pragma: no branch  the union has no other member
                return self._failed(outcome, now, probe=probe)

    def disable(self) -> Breaker:
        """Stop for good; what is known of the failures stays."""
        return replace(self, state=self._after(Signal.DISABLED), not_before=0, rounds=0)

    def enable(self) -> Breaker:
        """Begin anew."""
        return Breaker(state=self._after(Signal.ENABLED))

    def should_disable(self, now: Micros, disable_after: float | None) -> bool:
        """Say whether it failed without a success for `disable_after` seconds, often enough to be sure of it."""
        return (
            disable_after is not None
            and self.state is not State.DISABLED
            and self.failing_since is not None
            and self.failures >= TRIP_AFTER
            and now - self.failing_since > _micros(disable_after)
        )

    def _well(self) -> Breaker:
        state = self._after(Signal.WELL)
        if state is State.CLOSED:
            return _WELL
        return replace(self, failures=0, failing_since=None)

    def _failed(self, outcome: Failed, now: Micros, *, probe: bool) -> Breaker:
        failures = self.failures + outcome.spend
        signal = Signal.FAILED
        if outcome.throttle or not outcome.spend:
            signal = Signal.HELD
        if outcome.spend and failures >= TRIP_AFTER:
            signal = Signal.TRIPPED
        if probe and self.state is State.HALF_OPEN:
            signal = Signal.PROBE_FAILED
        state = self._after(signal)
        failing_since = now if outcome.spend and self.failing_since is None else self.failing_since
        after = replace(self, state=state, failures=failures, failing_since=failing_since)
        if state in (State.CLOSED, State.HALF_OPEN, State.DISABLED):
            return after
        hint = now + _micros(min(outcome.retry_after or 0.0, LONGEST_OBEYED)) if signal is not Signal.FAILED else 0
        if state is self.state:  # open or throttled already
            # One round: the attempts that were out together come in one by one, and make it no longer by being many.
            return replace(after, not_before=max(self.not_before, hint))
        # A probe that failed through no fault of the endpoint's does not make the next cool-down longer.
        rounds = self.rounds + (signal is not Signal.PROBE_FAILED or outcome.spend)
        wait = min(FIRST_WAIT * 2.0 ** min(rounds - 1, 10), LONGEST_WAIT)
        held = self.not_before if self.state is State.THROTTLED else 0  # what the endpoint asked for still holds
        return replace(after, since=now, not_before=max(held, now + _micros(wait), hint), rounds=rounds)

    def _unsent(self, now: Micros) -> Breaker:
        """Let another probe go out at once: of the endpoint as little is known as before."""
        state = self._after(Signal.PROBE_UNSENT)
        return self if state is self.state else replace(self, state=state, since=now, not_before=now)

    def _after(self, signal: Signal) -> State:
        return _TABLE[signal][_COLUMN[self.state]]


_WELL = Breaker()


def _micros(seconds: float) -> Micros:
    return round(seconds * 1_000_000)
