"""Stops sending to an endpoint that accepts nothing: an immutable value and a table of its changes. Pure.

Closed lets everything through. It opens where nothing at all was accepted for some time and many attempts: then nothing
goes out until a cool-down is over, then a single probe, whose failure doubles the cool-down; any success closes it.
Apart from that an endpoint is throttled if it asks for patience (`Retry-After`), or if a fault of our own keeps us from
it: nothing goes out for a while, then everything again. Disabled is final until somebody enables the endpoint.

A refusal without `Retry-After` changes nothing here while other attempts are accepted: `core/flow.py`, which keeps one
Breaker for each endpoint, decides how much goes out then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto

from notifier.core.model import Micros
from notifier.core.retry import LONGEST_OBEYED, Delivered, Failed, Gone, Outcome, Rejected

FEW = 5  # failures in a row: one burst of bad luck is less
SEVERAL = 2  # refusals in a row: a single one is no failing
SHORT_OUTAGE = 1.0  # seconds without a success, from which what failed in them is brought forward
FIRST_WAIT = 1.0  # seconds of the first cool-down, and of the first pause for a fault of our own
LONGEST_WAIT = 60.0  # seconds of the longest cool-down: how late a recovery may be noticed
LONGEST_OWN_WAIT = 15.0  # seconds of the longest pause for a fault of our own
SPREAD = 0.2  # of a cool-down, by which it may be shorter: endpoints that failed together are not probed together
# Times as many refusals in a row as usual, before they count as silence: chance reaches it in 1 of 100,000.
UNUSUAL = 12
PROBE_PATIENCE = 120.0  # seconds until a probe without any outcome is replaced


class State(StrEnum):
    """What an endpoint may be sent now."""

    CLOSED = "closed"  # everything
    THROTTLED = "throttled"  # nothing before `not_before`, then everything
    OPEN = "open"  # nothing before `not_before`, then one probe
    HALF_OPEN = "half_open"  # nothing: the probe is out
    DISABLED = "disabled"  # nothing until somebody enables it


class Signal(Enum):
    """What can happen to a breaker."""

    ADMITTED = auto()  # an attempt goes out
    WELL = auto()  # the endpoint accepted an attempt
    OVERRULED = auto()  # the same, and the pause was asked for by one refusal of a server that may have others
    REFUSED = auto()  # an attempt failed; others were accepted lately enough
    SILENT = auto()  # an attempt failed, and nothing was accepted for long enough
    HELD = auto()  # the endpoint asks for patience, or the fault is our own
    PROBE_FAILED = auto()  # the probe failed, for any reason
    PROBE_UNSENT = auto()  # the probe never reached the endpoint, by a fault of the message or of this program
    DISABLED = auto()  # the endpoint is gone, or failed for too long, or somebody disabled it
    ENABLED = auto()  # somebody enabled it


_TABLE: dict[Signal, tuple[State, State, State, State, State]] = {  # by signal, then by state in the order of State
    # signal             closed           throttled        open             half_open        disabled
    Signal.ADMITTED: (State.CLOSED, State.CLOSED, State.HALF_OPEN, State.HALF_OPEN, State.DISABLED),
    Signal.WELL: (State.CLOSED, State.THROTTLED, State.CLOSED, State.CLOSED, State.DISABLED),
    Signal.OVERRULED: (State.CLOSED, State.CLOSED, State.CLOSED, State.CLOSED, State.DISABLED),
    Signal.REFUSED: (State.CLOSED, State.THROTTLED, State.OPEN, State.HALF_OPEN, State.DISABLED),
    Signal.SILENT: (State.OPEN, State.OPEN, State.OPEN, State.HALF_OPEN, State.DISABLED),
    Signal.HELD: (State.THROTTLED, State.THROTTLED, State.OPEN, State.HALF_OPEN, State.DISABLED),
    Signal.PROBE_FAILED: (State.CLOSED, State.THROTTLED, State.OPEN, State.OPEN, State.DISABLED),
    Signal.PROBE_UNSENT: (State.CLOSED, State.THROTTLED, State.OPEN, State.OPEN, State.DISABLED),
    Signal.DISABLED: (State.DISABLED, State.DISABLED, State.DISABLED, State.DISABLED, State.DISABLED),
    Signal.ENABLED: (State.CLOSED, State.CLOSED, State.CLOSED, State.CLOSED, State.CLOSED),
}
_COLUMN = {state: column for column, state in enumerate(State)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """When an endpoint counts as silent: after many attempts in some seconds, or after few in a long time."""

    many: int = 20  # attempts in a row, none accepted
    seconds: float = 10.0  # without a success, for many attempts
    few: int = FEW  # attempts in a row, none accepted: for an endpoint with little traffic
    long: float = 60.0  # seconds without a success, for few attempts


SILENCE = Silence()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptContext:
    """How an attempt ended, and what else is known at that moment."""

    now: Micros
    began: Micros  # when the attempt went out
    probe: bool = False
    lately: bool = False  # another attempt was accepted within the last second
    jitter: float = 0.0  # from [0, 1)
    usual: float = 0.0  # refusals between two successes, on average: an endpoint that refuses most is not silent yet
    silence: Silence = SILENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """One endpoint's health. `Breaker()` is well; a stored one begins with `state` and `failing_since`."""

    state: State = State.CLOSED
    not_before: Micros = 0  # nothing goes out before; in HALF_OPEN: when the probe counts as lost
    since: Micros = 0  # when `not_before` was set
    failures: int = 0  # that count, since the last success
    failing_since: Micros | None = None  # the first of them; outlives a restart
    refused: int = 0  # attempts since the last success, those included that cost nothing (429)
    silent_since: Micros | None = None  # when the first of them went out
    rounds: int = 0  # cool-downs or pauses in a row, on which the next one's length depends
    firm: bool = False  # THROTTLED, and a success does not end it

    def ready(self, now: Micros) -> bool:
        """Return whether an attempt may go out."""
        if self.state is State.CLOSED or self.state is State.DISABLED:
            return self.state is State.CLOSED
        return now >= self.not_before or now < self.since  # a clock that was set back must not hold it for hours

    def wake_at(self) -> Micros | None:
        """Return when to ask again if not ready, or sooner; None when only somebody's hand can change it."""
        return None if self.state is State.DISABLED else self.not_before

    def admit(self, now: Micros) -> tuple[Breaker, bool]:
        """Let one attempt out, having asked `ready`; the second value tells whether it is the probe."""
        if self.state is State.CLOSED:  # as nearly always
            return self, False
        state = self._after(Signal.ADMITTED)
        if state is State.HALF_OPEN:
            return replace(self, state=state, since=now, not_before=now + _micros(PROBE_PATIENCE)), True
        return (self if state is self.state else replace(self, state=state)), False

    def record(self, outcome: Outcome, context: AttemptContext) -> Breaker:
        """Take in how an attempt ended; attempts that went out before the breaker opened may still come in."""
        match outcome:
            case Rejected(well=None) | Failed(proves=False):
                return self._unsent(context.now) if context.probe else self
            case Rejected(well=False):
                return self._refused(Failed(reason=outcome.reason), context)
            case Delivered() | Rejected():  # an endpoint that rejects a message is well
                return self._well()
            case Gone():
                return self.disable()
            case Failed():  # pragma: no branch  the union has no other member
                return self._own_fault(context) if own_fault(outcome) else self._refused(outcome, context)

    def disable(self) -> Breaker:
        """Stop for good; the knowledge of the failures stays."""
        return replace(self, state=self._after(Signal.DISABLED), not_before=0, rounds=0)

    def enable(self) -> Breaker:
        """Begin anew."""
        return Breaker(state=self._after(Signal.ENABLED))

    def should_disable(self, now: Micros, disable_after: float | None) -> bool:
        """Return whether it failed without a success for `disable_after` seconds, often enough to be sure of it."""
        return (
            disable_after is not None
            and self.state is not State.DISABLED
            and self.failing_since is not None
            and self.failures >= FEW
            and now - self.failing_since > _micros(disable_after)
        )

    def short_outage(self, context: AttemptContext) -> Micros | None:
        """Return since when attempts failed, if a success now ends an outage that was too short to open."""
        if self.state not in (State.CLOSED, State.THROTTLED) or self.failures < max(FEW, UNUSUAL * context.usual):
            return None
        return self.failing_since if self._silence(context.now) >= SHORT_OUTAGE else None

    @property
    def fails_since(self) -> Micros | None:
        """Return since when nothing was accepted in several attempts; None if that is not so."""
        if self.state is State.DISABLED or self.refused < SEVERAL:
            return None
        began = [since for since in (self.failing_since, self.silent_since) if since is not None]
        return min(began, default=None)

    def fails_for(self, now: Micros) -> float:
        """Return for how many seconds nothing was accepted in several attempts; 0.0 if that is not so."""
        return 0.0 if self.fails_since is None else (now - self.fails_since) / 1e6

    def _well(self) -> Breaker:
        state = self._after(Signal.WELL if self.firm else Signal.OVERRULED)
        if state is State.CLOSED:
            return WELL
        return replace(self, failures=0, failing_since=None, refused=0, silent_since=None)

    def _refused(self, outcome: Failed, context: AttemptContext) -> Breaker:
        """Count a refusal; it opens where all are refused, and holds the endpoint where the endpoint asks for it."""
        after = self._counted(outcome, context)
        asked = context.now + _micros(min(outcome.retry_after or 0.0, LONGEST_OBEYED)) if outcome.throttle else 0
        limited = not outcome.spend  # 429, which speaks for the whole endpoint
        held = asked > context.now and (limited or not context.lately)
        signal = Signal.HELD if held else Signal.REFUSED
        if after._is_silent(context):
            signal = Signal.SILENT
        if context.probe and self.state is State.HALF_OPEN:
            return after._cool_down(Signal.PROBE_FAILED, context, asked, longer=outcome.spend)
        state = self._after(signal)
        if state is State.OPEN and self.state is not State.OPEN:
            return after._cool_down(signal, context, asked if held else 0)
        if state is State.HALF_OPEN or not held or state is State.DISABLED:
            return after
        # The attempts that were out together come in one by one. Being many does not make the pause longer.
        again = state is self.state
        not_before = max(asked, self.not_before if again else 0)
        return replace(
            after, state=state, since=context.now, not_before=not_before, firm=limited or (again and self.firm)
        )

    def _counted(self, outcome: Failed, context: AttemptContext) -> Breaker:
        silent_since = context.began if self.silent_since is None else min(self.silent_since, context.now)
        return replace(
            self,
            failures=self.failures + outcome.spend,
            failing_since=context.now if outcome.spend and self.failing_since is None else self.failing_since,
            refused=self.refused + 1,
            silent_since=silent_since,
        )

    def _is_silent(self, context: AttemptContext) -> bool:
        rule, seconds, chance = context.silence, self._silence(context.now), UNUSUAL * context.usual
        return (self.refused >= max(rule.many, chance) and seconds >= rule.seconds) or (
            self.refused >= max(rule.few, chance) and seconds >= rule.long
        )

    def _silence(self, now: Micros) -> float:
        """Return the seconds since the first attempt after the last success."""
        return 0.0 if self.silent_since is None else (now - self.silent_since) / 1e6

    def _cool_down(self, signal: Signal, context: AttemptContext, asked: Micros, *, longer: bool = True) -> Breaker:
        """Open, for longer than the last time unless the probe failed without the endpoint's fault."""
        rounds = self.rounds + 1 if longer and self.state in (State.OPEN, State.HALF_OPEN) else max(self.rounds, 1)
        wait = min(FIRST_WAIT * 2.0 ** min(rounds - 1, 10), LONGEST_WAIT) * (1 - SPREAD * context.jitter)
        held = self.not_before if self.state is State.THROTTLED else 0  # what the endpoint asked for still holds
        not_before = max(held, context.now + _micros(wait), asked)
        return replace(
            self, state=self._after(signal), since=context.now, not_before=not_before, rounds=rounds, firm=False
        )

    def _own_fault(self, context: AttemptContext) -> Breaker:
        """Wait a little: the fault proves nothing of the endpoint, but the next attempt would have it as well."""
        if context.probe and self.state is State.HALF_OPEN:
            return self._cool_down(Signal.PROBE_FAILED, context, 0, longer=False)
        state = self._after(Signal.HELD)
        if state is not State.THROTTLED or context.lately or state is self.state:
            return self
        rounds = self.rounds + 1
        wait = min(FIRST_WAIT * 2.0 ** min(rounds - 1, 10), LONGEST_OWN_WAIT)
        return replace(
            self, state=state, since=context.now, not_before=context.now + _micros(wait), rounds=rounds, firm=False
        )

    def _unsent(self, now: Micros) -> Breaker:
        """Let another probe go out at once: of the endpoint as little is known as before."""
        state = self._after(Signal.PROBE_UNSENT)
        return self if state is self.state else replace(self, state=state, since=now, not_before=now)

    def _after(self, signal: Signal) -> State:
        return _TABLE[signal][_COLUMN[self.state]]


def own_fault(outcome: Failed) -> bool:
    """Return whether a failure is this side's: no name server, no proxy, no file descriptor."""
    return not outcome.proves or (not outcome.spend and not outcome.throttle)


WELL = Breaker()  # nothing but successes


def _micros(seconds: float) -> Micros:
    return round(seconds * 1_000_000)
