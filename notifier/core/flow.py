"""How much an endpoint is sent: by what it accepts. Pure: times and randomness enter as arguments.

One Flow stands for one endpoint on one node and combines five rules, each in its own module:

- `core/breaker.py`: nothing goes out while the endpoint asks for patience, accepts nothing, or is disabled;
- `core/pace.py`: no more begin in a second than the configuration allows (`rate_limit`);
- `core/window.py`: the number of attempts in flight and their pace adapt;
- `core/load.py`: both fall only if load is the cause of refusals, so that random refusals cost no throughput;
- `core/recent.py`: the answers of the last minute, which are told to people.

A place that a refusal has freed rests until an accepted attempt would have ended. So an endpoint never gets more in a
second than if it accepted everything, however fast it refuses. Where nothing is accepted, places rest ever longer,
until the endpoint gets SICK_RATE attempts a second. No place rests longer than RESTED, so that a window of more than
SICK_RATE * RESTED places gets more; silence opens the breaker by then.

    pause = flow.wait(now, tick)          # 0.0: now; seconds; None: when something ends or changes
    ticket = flow.admit(now, tick)
    flow.record(ticket, outcome, now, tick, jitter=random())
    flow.ended(ticket, tick)              # its outcome is saved

`now` is the wall clock's time, which outlives a restart; `tick` is the seconds of a clock that nobody sets.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

from notifier.core.breaker import SILENCE, WELL, AttemptContext, Breaker, Silence, State, own_fault
from notifier.core.load import LoadRecord
from notifier.core.model import Micros
from notifier.core.pace import TokenBucket
from notifier.core.recent import RecentAnswers
from notifier.core.retry import Delivered, Failed, Gone, Outcome, Rejected
from notifier.core.window import Pace, Window

SICK_RATE = 4.0  # attempts a second in the end, where nothing is accepted
PATIENT_RUN = 32  # refusals in a row after which places begin to rest longer
LONGER_EVERY = 16  # more refusals in a row, after which the rest doubles
FIRST_TYPICAL = 0.1  # seconds that an accepted attempt is taken to last before one was seen
LONGEST_REST = 1.0  # seconds that a place rests at most while something is accepted
RESTED = 10.0  # seconds that a place of a large window rests at most: by then silence opens the breaker
SMOOTHING = 0.1  # weight of the newest duration in the typical one
SPREAD = 3.0  # typical durations within which nearly all attempts end
MOST_USUAL = 20  # refusals between two successes, of which an average is taken
LATELY = 1.0  # seconds within which a success speaks for an endpoint
SLOWEST = 0.2  # attempts a second that a pace allows at least
TOLERANCE = 1.05  # a pace is that much more than what was accepted
LOOK_EVERY = 8  # refusals between two comparisons of loads


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """An attempt that goes out."""

    number: int
    probe: bool
    began: Micros
    tick: float


class Flow:
    """What may be sent to one endpoint, and what it made of it."""

    def __init__(self, cap: int, *, rate_limit: float | None = None, silence: Silence = SILENCE) -> None:
        """Begin with everything allowed.

        `cap` is the greatest number of attempts in flight; `rate_limit` is of attempts a second, None: no limit.
        """
        self.in_flight = 0
        self.disregarded = 0  # of them, those that began before the window was restarted: they do not count for it
        self._restarted = 0  # the number of the first attempt that counts
        self.recent = RecentAnswers()
        self._silence = silence
        # Others read it, and replace it by `set_breaker`: one that ends an outage makes the window begin from one.
        self.breaker = WELL
        self._window = Window(cap)
        self._rate_limit = rate_limit
        self._bucket = _bucket(rate_limit)
        self._pace = Pace()
        self._load = LoadRecord()
        self.typical = FIRST_TYPICAL  # seconds of an accepted attempt
        self._refusing = 0.0  # seconds of a refused one
        self._accepted_at: float | None = None  # tick of the last one
        self._resting: list[float] = []  # a heap: when places may be used again
        self._usual = 0.0  # refusals between two successes, on average
        self._looked = 0  # refusals since the loads were compared

    def set_breaker(self, breaker: Breaker, tick: float) -> None:
        """Take a breaker that follows from another node's word, or from somebody's hand."""
        was, self.breaker = self.breaker, breaker
        stopped = (State.OPEN, State.HALF_OPEN, State.DISABLED)
        if was.state in stopped and breaker.state not in stopped:
            self._window.restart(tick)
            self._pace.end()
            self._resting.clear()
            self.disregard()
        if breaker.state is State.THROTTLED and was.state is State.CLOSED and breaker.firm:
            self._window.halve()

    @property
    def limit(self) -> int:
        """Return how many attempts may be in flight."""
        return self._window.size

    @property
    def workers(self) -> int:
        """Return how many workers can be busy: more than `limit` while disregarded attempts hang."""
        return self._window.size + self.disregarded

    @property
    def rate(self) -> float | None:
        """Return how many attempts may begin in a second; None: any number."""
        return self._pace.rate

    def update(self, cap: int, rate_limit: float | None) -> None:
        """Take other limits; attempts in flight go on."""
        self._window.limit(cap)
        if rate_limit != self._rate_limit:
            self._rate_limit, self._bucket = rate_limit, _bucket(rate_limit)

    def delay(self, tick: float) -> None:
        """Let the next attempt wait for the rate limit's interval, as if one had begun at `tick`."""
        if self._bucket is not None:
            self._bucket.drain(tick)

    def ready_at(self, now: Micros) -> Micros | None:
        """Return when the breaker lets an attempt out; None if only an operator can change that."""
        return now if self.breaker.ready(now) else self.breaker.wake_at()

    def wait(self, now: Micros, tick: float) -> float | None:
        """Return the seconds until an attempt may go out; None: not before an attempt ends or something changes."""
        if self.breaker is not WELL and not self.breaker.ready(now):
            wake_at = self.breaker.wake_at()
            return None if wake_at is None else (wake_at - now) / 1e6
        while self._resting and self._resting[0] <= tick:
            heapq.heappop(self._resting)
        busy = self.in_flight - self.disregarded
        if busy >= self._window.size or self.in_flight >= self._window.cap:
            return None
        resting = self._resting
        if resting and busy + len(resting) >= self._window.size and self.breaker.state is State.CLOSED:
            return resting[0] - tick
        pause = self._pace.wait(tick)
        return self._bucket.wait(tick) if pause == 0 and self._bucket is not None else pause

    def admit(self, now: Micros, tick: float) -> Ticket:
        """Let one attempt out, after `wait` returned 0.0."""
        probe = False
        if self.breaker is not WELL:
            self.breaker, probe = self.breaker.admit(now)
        self._pace.take(tick)
        if self._bucket is not None:
            self._bucket.take()
        self.in_flight += 1
        return Ticket(number=self._load.begin(tick), probe=probe, began=now, tick=tick)

    def record(self, ticket: Ticket, outcome: Outcome, now: Micros, tick: float, *, jitter: float) -> Micros | None:
        """Take in how an attempt ended, unless it is known that it says nothing of the endpoint.

        Returns since when attempts failed, if this one ends an outage that was too short for the breaker to open.
        """
        accepted = isinstance(outcome, Delivered)
        if accepted and self.breaker is WELL:  # as nearly always: it stays so
            self._usual -= SMOOTHING * self._usual
            self._accepted(ticket, max(0.0, tick - ticket.tick), tick)
            return None
        context = self._context(ticket, now, tick, jitter)
        since = self.breaker.short_outage(context) if accepted else None
        if accepted and self.breaker.state is State.CLOSED:  # an outage is not usual
            self._usual += SMOOTHING * (min(self.breaker.refused, MOST_USUAL) - self._usual)
        self.set_breaker(self.breaker.record(outcome, context), tick)
        seconds = max(0.0, tick - ticket.tick)
        match outcome:
            case Delivered() | Rejected(well=True):
                self._accepted(ticket, seconds, tick)
            case Rejected(well=False, reason=reason):
                self._refused(ticket, Failed(reason=reason), seconds, tick)
            case Failed() if not own_fault(outcome):
                self._refused(ticket, outcome, seconds, tick)
            case Failed() | Rejected() | Gone():  # pragma: no branch  the union has no other member
                self._load.end(ticket.number, None, tick, patience=self._patience)
        return since

    def _context(self, ticket: Ticket, now: Micros, tick: float, jitter: float) -> AttemptContext:
        return AttemptContext(
            now=now,
            began=ticket.began,
            probe=ticket.probe,
            lately=self._accepted_at is not None and 0 <= tick - self._accepted_at < LATELY,
            jitter=jitter,
            usual=self._usual,
            silence=self._silence,
        )

    def ended(self, ticket: Ticket, tick: float) -> None:
        """Free the place of an attempt, once its outcome is saved; without one it says nothing of the endpoint."""
        self.in_flight -= 1
        self.disregarded -= ticket.number < self._restarted
        if self._load.is_open(ticket.number):
            self._load.end(ticket.number, None, tick, patience=self._patience)

    def disregard(self) -> None:
        """Take the attempts in flight out of the window: they began before an outage ended, or with an old sender."""
        self.disregarded, self._restarted = self.in_flight, self._load.following

    def abandon(self, now: Micros, tick: float) -> None:
        """Disregard the attempts in flight, since nobody will judge them; another probe may go out."""
        if self.breaker.state is State.HALF_OPEN:
            self.set_breaker(replace(self.breaker, state=State.OPEN, not_before=now), tick)
        self.disregard()

    def renew(self) -> None:
        """Forget everything but the attempts in flight: another receiver stands behind the name now."""
        self.breaker = WELL
        self._window = Window(self._window.cap)
        self._pace = Pace()
        self._load.clear()
        self.recent.clear()
        self.typical, self._accepted_at = FIRST_TYPICAL, None
        self._refusing = self._usual = 0.0
        self._resting.clear()

    @property
    def _patience(self) -> float:
        """Return the seconds within which nearly all attempts end."""
        return SPREAD * max(self.typical, self._refusing)

    def _accepted(self, ticket: Ticket, seconds: float, tick: float) -> None:
        self.typical = seconds if self._accepted_at is None else self.typical + SMOOTHING * (seconds - self.typical)
        self._accepted_at = tick
        self.recent.accepted(tick)
        self._load.end(ticket.number, True, tick, patience=self._patience)
        self._window.accepted(tick)
        self._pace.accepted(tick)
        longest = tick + LONGEST_REST
        if self._resting and max(self._resting) > longest:  # nothing was accepted until now
            self._resting = [min(until, longest) for until in self._resting]
            heapq.heapify(self._resting)

    def _refused(self, ticket: Ticket, outcome: Failed, seconds: float, tick: float) -> None:
        self.recent.refused(outcome.reason, tick)
        self._refusing += SMOOTHING * (seconds - self._refusing)
        of_load = outcome.throttle or outcome.reason == "timeout"
        self._load.end(ticket.number, False if of_load else None, tick, patience=self._patience)
        self._rest(seconds, tick)
        self._looked += of_load
        if self._looked >= LOOK_EVERY:
            self._looked = 0
            self._adapt(tick)

    def _rest(self, seconds: float, tick: float) -> None:
        """Leave the place unused until an accepted attempt would have ended; longer where nothing is accepted."""
        longer = max(0, self.breaker.refused - PATIENT_RUN) // LONGER_EVERY
        rest = min(self.typical, LONGEST_REST) * 2.0 ** min(longer, 20)
        rest = min(rest, max(min(self._window.size / SICK_RATE, RESTED), LONGEST_REST)) - seconds
        if rest > 0:
            heapq.heappush(self._resting, tick + rest)

    def _adapt(self, tick: float) -> None:
        """Allow less if load is the cause of refusals."""
        places = self._load.places()
        if places is not None and places < self._window.size:
            self._window.fall(places, tick)
            self._load.clear()
            return
        rate = self._load.rate()
        if rate is not None:
            self._pace.fall(max(rate * TOLERANCE, SLOWEST), tick)
            self._load.clear()


def _bucket(rate: float | None) -> TokenBucket | None:
    return None if rate is None else TokenBucket(rate)
