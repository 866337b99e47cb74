"""The delivery loop and its receivers in virtual time: lanes in strict order, a retry schedule, and a Flow between."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from notifier.core import retry
from notifier.core.condition import Condition, condition
from notifier.core.flow import Flow, Ticket
from notifier.core.retry import Delivered, Failed, Outcome

EPOCH = 1_700_000_000 * 1_000_000
SHORT = (0.0, *[1.0] * 99)  # a schedule that never ends within a simulation
TIMEOUT = Failed(reason="timeout")


def wall(tick: float) -> int:
    """Return the wall clock's time at a tick, in microseconds."""
    return EPOCH + round(tick * 1e6)


def told(flow: Flow, tick: float) -> Condition:
    """Return the word for the endpoint's state at a tick."""
    return condition(flow.breaker, flow.recent.shares(tick), wall(tick))


def refusal(status: int, hint: float | None = None) -> Failed:
    """Return the outcome of a status, as a sender judges it."""
    headers = {} if hint is None else {"retry-after": f"{hint:g}"}
    outcome = retry.classify_http(status, headers, now=EPOCH)
    assert isinstance(outcome, Failed)
    return outcome


class Receiver:
    """An endpoint in virtual time: `begin` decides about an attempt, `end` tells it that a reply was read."""

    def begin(self, now: float) -> tuple[Outcome, float]:
        """Return how the attempt will end, and after how many seconds."""
        raise NotImplementedError

    def end(self, outcome: Outcome) -> None:
        """Record that an attempt is over."""


@dataclass
class Random(Receiver):
    """Refuses a share of what it gets, in any order, whatever the load: exactly that share of each hundred."""

    share: float
    refusals: tuple[Failed, ...]
    rng: random.Random
    seconds: float = 0.1
    refusing_seconds: float = 0.001
    _lots: list[bool] = field(default_factory=list)

    def begin(self, now: float) -> tuple[Outcome, float]:
        """Draw lots."""
        if not self._lots:
            self._lots = [lot < round(100 * self.share) for lot in range(100)]
            self.rng.shuffle(self._lots)
        if self._lots.pop():
            return self.rng.choice(self.refusals), self.refusing_seconds
        return Delivered(), self.rng.uniform(0.8, 1.2) * self.seconds


@dataclass
class Places(Receiver):
    """Accepts so many attempts at a time."""

    count: int
    refusal: Failed
    rng: random.Random
    seconds: float = 0.1
    refusing_seconds: float = 0.001
    share: float = 0.0  # refused at random besides
    busy: int = 0

    def begin(self, now: float) -> tuple[Outcome, float]:
        """Take a place, if there is one."""
        if self.busy >= self.count or self.rng.random() < self.share:
            return self.refusal, self.refusing_seconds
        self.busy += 1
        return Delivered(), self.rng.uniform(0.5, 1.5) * self.seconds

    def end(self, outcome: Outcome) -> None:
        """Free the place."""
        self.busy -= isinstance(outcome, Delivered)


@dataclass
class Rate(Receiver):
    """Accepts so many attempts a second, by a token bucket or in a fixed window of a second."""

    rate: float
    refusal: Failed
    fixed: bool = False
    seconds: float = 0.02
    _tokens: float = 1.0
    _at: float = 0.0

    def begin(self, now: float) -> tuple[Outcome, float]:
        """Take a token, if there is one."""
        if self.fixed:
            self._tokens = self.rate if int(now) != int(self._at) else self._tokens
        else:
            self._tokens = min(max(1.0, self.rate / 10), self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            return self.refusal, 0.001
        self._tokens -= 1
        return Delivered(), self.seconds


@dataclass
class Calendar(Receiver):
    """Accepts so many attempts in each window of wall-clock time, and refuses the rest of the window."""

    count: int
    window: float  # seconds
    refusal: Failed
    seconds: float = 0.05
    _taken: int = 0
    _since: float = -1.0

    def begin(self, now: float) -> tuple[Outcome, float]:
        """Count within the present window; the first one had begun earlier."""
        since = (now + self.window / 3) // self.window
        if since != self._since:
            self._since, self._taken = since, 0
        if self._taken >= self.count:
            return self.refusal, 0.002
        self._taken += 1
        return Delivered(), self.seconds


@dataclass
class Outage(Receiver):
    """Refuses everything during some periods, and is another receiver besides."""

    periods: tuple[tuple[float, float], ...]
    refusal: Failed
    other: Receiver
    refusing_seconds: float = 0.001

    def begin(self, now: float) -> tuple[Outcome, float]:
        """Refuse while it is away."""
        if any(begin <= now < end for begin, end in self.periods):
            return self.refusal, self.refusing_seconds
        return self.other.begin(now)

    def end(self, outcome: Outcome) -> None:
        """Tell the other."""
        if isinstance(outcome, Delivered):
            self.other.end(outcome)


@dataclass
class Lane:
    """The states of one task, which go out in order."""

    number: int
    waiting: deque[float] = field(default_factory=deque)  # when each was observed
    attempt: int = 0  # of the first of them, spent
    busy: bool = False  # the first is ready, in flight, or waits for its time


@dataclass
class Result:
    """What happened."""

    sent: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    order: dict[int, list[float]] = field(
        default_factory=dict
    )  # when the states of each lane were observed, as accepted
    dead: int = 0
    end: float = 0.0

    def goodput(self, begin: float, end: float) -> float:
        """Return accepted attempts a second."""
        return sum(begin <= at < end for at in self.accepted) / (end - begin)

    def rate(self, begin: float, end: float) -> float:
        """Return attempts a second."""
        return sum(begin <= at < end for at in self.sent) / (end - begin)

    def refused_share(self, begin: float, end: float) -> float:
        """Return the share of refused attempts among those that ended then."""
        refused = sum(begin <= at < end for at in self.refused)
        return refused / max(1, refused + sum(begin <= at < end for at in self.accepted))


class Loop:
    """Sends to one receiver as the daemon does, until a time or until nothing is left."""

    def __init__(
        self,
        receiver: Receiver,
        *,
        cap: int = 32,
        schedule: tuple[float, ...] = SHORT,
        seed: int = 1,
    ) -> None:
        self.receiver = receiver
        self.flow = Flow(cap)
        self.now = 0.0
        self.result = Result()
        self._schedule = schedule
        self._rng = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._ready: deque[Lane] = deque()
        self._lanes: dict[int, Lane] = {}
        self._woken = float("inf")

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._events, (when, next(self._count), action))

    def add(self, lane: int, when: float, states: int = 1) -> None:
        """Observe states of a task at a time."""
        self.at(when, lambda: self._observe(lane, states))

    def backlog(self, lanes: Iterable[int], states: int = 1) -> None:
        """Begin with states of many tasks."""
        for lane in lanes:
            self._observe(lane, states)

    def run(self, until: float) -> Result:
        """Go on until a time, or until nothing is left to happen."""
        self._pump()
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
            self._pump()
        self.result.end = self.now
        return self.result

    def _observe(self, number: int, states: int) -> None:
        lane = self._lanes.setdefault(number, Lane(number))
        lane.waiting.extend([self.now] * states)
        self._next(lane)

    def _next(self, lane: Lane) -> None:
        if lane.waiting and not lane.busy:
            lane.busy = True
            lane.attempt = 0
            self._ready.append(lane)

    def _pump(self) -> None:
        while self._ready:
            pause = self.flow.wait(wall(self.now), self.now)
            if pause is None:
                return
            if pause > 0:
                when = self.now + max(pause, 0.001)
                if not self.now < self._woken <= when:
                    self._woken = when
                    self.at(when, lambda: None)
                return
            self._send(self._ready.popleft())

    def _send(self, lane: Lane) -> None:
        ticket = self.flow.admit(wall(self.now), self.now)
        self.result.sent.append(self.now)
        outcome, seconds = self.receiver.begin(self.now)
        self.at(self.now + seconds, lambda: self._end(lane, ticket, outcome))

    def _end(self, lane: Lane, ticket: Ticket, outcome: Outcome) -> None:
        self.receiver.end(outcome)
        self.flow.record(ticket, outcome, wall(self.now), self.now, jitter=self._rng.random())
        self.flow.ended(ticket, self.now)
        if isinstance(outcome, Failed):
            self.result.refused.append(self.now)
            self._again(lane, outcome)
        else:
            self.result.accepted.append(self.now)
            self.result.order.setdefault(lane.number, []).append(lane.waiting.popleft())
            lane.busy = False
            self._next(lane)

    def _again(self, lane: Lane, outcome: Failed) -> None:
        jitter = self._rng.random()
        if outcome.spend:
            lane.attempt += 1
            wait = retry.next_attempt(
                attempts_made=lane.attempt, schedule=self._schedule, jitter=jitter, retry_after=outcome.retry_after
            )
        else:
            age = self.now - lane.waiting[0] if outcome.throttle else 0.0
            wait = retry.after_unspent(jitter=jitter, retry_after=outcome.retry_after, age=age)
        if wait is None:
            self.result.dead += 1
            lane.waiting.popleft()
            lane.busy = False
            self._next(lane)
        else:
            self.at(self.now + wait, lambda: self._ready.append(lane))
