"""Who may connect, and when: the oldest watch that is due, no faster than allowed, never too many at once.

A watch that waits (for its turn, or for its backoff to pass) is an entry in a heap; only an open connection has a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count

from notifier.core.pace import TokenBucket
from notifier.follow.policy import FeedPolicy
from notifier.follow.subscription import Subscription
from notifier.runtime.wake import Wake

RAMP = 0.1  # seconds' worth of connections that may start at once
EVEN_SHARE = 0.95  # of the rate that is used: requests that are delayed on their way must not exceed it either
EVEN_BURST = 1.5  # requests; the half makes up for timers that are late
EVEN_RAMP = 0.005  # seconds' worth of requests at once, where a timer is too coarse for each


_NUMBERS = count()  # of entries, so that a candidate has one entry at a time, wherever it waits


class Slots:
    """The open streams that the whole process may have. Sources that find none free are served in turn."""

    def __init__(self, limit: int) -> None:
        self.free = limit
        self._waiting: dict[Wake, None] = {}  # a set that keeps its order

    def take(self, wake: Wake) -> bool:
        """Take one; if none is free, `wake` is set once another try is worth while."""
        first = next(iter(self._waiting), wake)
        if self.free <= 0 or first is not wake:
            self._waiting[wake] = None
            return False
        self._waiting.pop(wake, None)
        self.free -= 1
        self._wake_next()
        return True

    def leave(self, wake: Wake) -> None:
        """Wait no longer."""
        if self._waiting and wake in self._waiting:
            del self._waiting[wake]
            self._wake_next()

    def give_back(self) -> None:
        """Let another source have one."""
        self.free += 1
        self._wake_next()

    def _wake_next(self) -> None:
        if self._waiting and self.free > 0:
            next(iter(self._waiting)).set()


class Admission:
    """The subscriptions of one source that wait, and the number of those connected.

    `wake` is set when `next` may have a new answer.
    """

    def __init__(
        self, *, slots: Slots, limit: int, rate: float, even: bool = False, within: Admission | None = None
    ) -> None:
        """Admit up to `limit` candidates at a time, and `rate` a second.

        `within`: each counts against the rate of that admission as well. `even`: at even distances, and in the order in
        which they became due. Otherwise a candidate that comes back again and again would keep newer ones from their
        turn.
        """
        self.open = 0  # connections open or being opened
        self.wake = Wake()
        self._slots = slots
        self._limit = limit
        self._rate = rate
        self._even = even
        self._within = within
        self._bucket = _bucket(rate, even=even)
        self._held = 0.0  # loop time until which none is admitted
        # The number of an entry also keeps candidates themselves from being compared.
        self._sleeping: list[tuple[float, int, Subscription]] = []  # by the time at which they are due
        self._due: list[tuple[float, int, int, Subscription]] = []  # oldest watch first, or longest due

    def update(self, *, limit: int, rate: float) -> None:
        """Take new limits; open connections stay open."""
        self._limit = limit
        if rate != self._rate:
            self._rate, self._bucket = rate, _bucket(rate, even=self._even)
        self.wake.set()

    def now(self, candidate: Subscription) -> None:
        """Let one connect as soon as it may, whatever it waited for before."""
        self._enter(candidate, asyncio.get_running_loop().time())

    def first(self, candidate: Subscription) -> None:
        """Let one connect as soon as it may, before those that are due already."""
        self._enter(candidate, 0.0)

    def hold(self, until: float) -> None:
        """Let none connect until a time of the loop's clock."""
        self._held = max(self._held, until)

    def _enter(self, candidate: Subscription, due: float) -> None:
        candidate.entry = next(_NUMBERS)
        self._push(candidate, due)
        self.wake.set()

    def later(self, candidate: Subscription, due: float) -> None:
        """Let one connect at a time of the loop's clock, or when it may after that."""
        candidate.entry = next(_NUMBERS)
        heappush(self._sleeping, (due, candidate.entry, candidate))
        if self._sleeping[0][1] == candidate.entry:  # others are due before it: nothing is new
            self.wake.set()

    def next(self, now: float) -> Subscription | float | None:
        """Return the candidate that connects now, or the seconds until one may; None: not before something happens.

        The candidate that is returned counts as connected until `ended`.
        """
        while self._sleeping and self._sleeping[0][0] <= now:
            due, number, candidate = heappop(self._sleeping)
            if number == candidate.entry:
                self._push(candidate, due)
        while self._due and _void(self._due[0]):
            heappop(self._due)
        sleep = self._sleeping[0][0] - now if self._sleeping else None
        if not self._due or self.open >= self._limit:
            self._slots.leave(self.wake)
            return sleep
        if (pause := max(self._held - now, self._rate_wait(now))) > 0:
            self._slots.leave(self.wake)
            return pause if sleep is None else min(pause, sleep)
        if not self._slots.take(self.wake):
            return sleep
        self._bucket.take()
        if self._within is not None:
            self._within._bucket.take()
        self.open += 1
        turn = heappop(self._due)[-1]
        turn.entry = -1
        return turn

    def along(self, most: int, fits: Callable[[Subscription], bool], until: float) -> list[Subscription]:
        """Return up to `most` candidates that fit and are due by a time of the loop's clock, for one turn in common.

        They count as one with the candidate that `next` returned before. At most twice as many are looked at.
        """
        chosen: list[Subscription] = []
        others: list[tuple[float, int, int, Subscription]] = []
        for _ in range(2 * most):
            if len(chosen) == most:
                break
            if not self._due and self._sleeping and self._sleeping[0][0] <= until:
                due, number, candidate = heappop(self._sleeping)
                if number == candidate.entry:
                    self._push(candidate, due)
            if not self._due:
                break
            entry = heappop(self._due)
            if _void(entry):
                continue
            if fits(entry[-1]):
                entry[-1].entry = -1
                chosen.append(entry[-1])
            else:
                others.append(entry)
        for entry in others:
            heappush(self._due, entry)
        return chosen

    def _rate_wait(self, now: float) -> float:
        own = self._bucket.wait(now)
        return own if self._within is None else max(own, self._within._bucket.wait(now))

    @property
    def limit(self) -> int:
        """Return how many connections may be open at a time."""
        return self._limit

    @property
    def waiting(self) -> int:
        """Return how many candidates are due but have to wait, for a free slot or for their turn."""
        return sum(not _void(entry) for entry in self._due)

    def ended(self) -> None:
        """Record that a connection has ended."""
        self.open -= 1
        self._slots.give_back()
        if self.open == self._limit - 1:  # before, there was room as well
            self.wake.set()

    def close(self) -> None:
        """Leave the turn at slots to others."""
        self._slots.leave(self.wake)

    def _push(self, candidate: Subscription, due: float) -> None:
        watch = candidate.watch
        order = (due, candidate.entry) if self._even else (watch.created_at, watch.pk)
        heappush(self._due, (*order, candidate.entry, candidate))


class Admissions:
    """Where the subscriptions of one source wait: for a stream, or for a request.

    Requests are polls, and what asks for the result of a success. A source that is polled has nothing else. Beside
    streams, requests count against the streams' rate as well.
    """

    def __init__(self, *, slots: Slots, policy: FeedPolicy, streams: bool) -> None:
        """Create them by a policy; `streams`: the source has streams."""
        self.streams: Admission | None = None
        limit, rate = policy.max_streams, policy.connect_rate
        if streams:
            self.streams = Admission(slots=slots, limit=limit, rate=rate)
            limit, rate = policy.requests, policy.request_rate
        self.requests = Admission(slots=slots, limit=limit, rate=rate, even=True, within=self.streams)

    def __iter__(self) -> Iterator[Admission]:
        if self.streams is not None:
            yield self.streams
        yield self.requests

    def of(self, subscription: Subscription) -> Admission:
        """Return where a subscription waits."""
        if self.streams is None or subscription.polls or subscription.success is not None:
            return self.requests
        return self.streams

    @property
    def open(self) -> int:
        """Return how many streams are open or being opened; a request is none."""
        return 0 if self.streams is None else self.streams.open

    @property
    def limit(self) -> int:
        """Return how many streams may be open at a time, or requests where there are no streams."""
        return (self.streams or self.requests).limit

    @property
    def waiting(self) -> int:
        """Return how many subscriptions could connect now, but wait for a free slot or for their turn."""
        return sum(admission.waiting for admission in self)

    def update(self, policy: FeedPolicy) -> None:
        """Take new limits; open connections stay open."""
        if self.streams is None:
            self.requests.update(limit=policy.max_streams, rate=policy.connect_rate)
        else:
            self.streams.update(limit=policy.max_streams, rate=policy.connect_rate)
            self.requests.update(limit=policy.requests, rate=policy.request_rate)

    def wake(self) -> None:
        """Have every admission look again."""
        for admission in self:
            admission.wake.set()

    def close(self) -> None:
        """Leave their turns at slots to other sources."""
        for admission in self:
            admission.close()


def _void(entry: tuple[float, int, int, Subscription]) -> bool:
    _, _, number, candidate = entry
    return candidate.gone or candidate.entry != number


def _bucket(rate: float, *, even: bool) -> TokenBucket:
    if even:
        # what the share leaves bounds the burst, so that no second has more than `rate`
        burst = min(rate * (1 - EVEN_SHARE), max(EVEN_BURST, rate * EVEN_RAMP))
        return TokenBucket(rate * EVEN_SHARE, max(1.0, burst))
    return TokenBucket(rate, max(1.0, rate * RAMP))
