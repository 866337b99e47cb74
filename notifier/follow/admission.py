"""Who may connect, and when: the oldest of those that are due, no faster than allowed, never too many at once.

A watch that waits (for its turn, or for its backoff to pass) is an entry in a heap; only an open connection has a task.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count
from typing import Generic, Protocol, TypeVar

from notifier.core.model import Watch
from notifier.core.pace import TokenBucket

RAMP = 0.1  # seconds' worth of connections that may start at once


class Candidate(Protocol):
    """Something that wants to connect."""

    @property
    def watch(self) -> Watch: ...

    @property
    def gone(self) -> bool:
        """Say that it is not to connect any more."""
        ...


C = TypeVar("C", bound=Candidate)


class Slots:
    """The open streams that the whole process may have; who found none free is served in turn."""

    def __init__(self, limit: int) -> None:
        self.free = limit
        self._waiting: dict[asyncio.Event, None] = {}  # a set that keeps its order

    def take(self, wake: asyncio.Event) -> bool:
        """Take one; if that cannot be now, `wake` is set once it is worth another try."""
        first = next(iter(self._waiting), wake)
        if self.free <= 0 or first is not wake:
            self._waiting[wake] = None
            return False
        self._waiting.pop(wake, None)
        self.free -= 1
        self._wake_next()
        return True

    def leave(self, wake: asyncio.Event) -> None:
        """Wait no more."""
        if self._waiting and wake in self._waiting:
            del self._waiting[wake]
            self._wake_next()

    def give_back(self) -> None:
        """Let another have one."""
        self.free += 1
        self._wake_next()

    def _wake_next(self) -> None:
        if self._waiting and self.free > 0:
            next(iter(self._waiting)).set()


class Admission(Generic[C]):
    """Those of one source that wait, and how many are connected. `wake` is set when `next` may say something new."""

    def __init__(self, *, slots: Slots, limit: int, rate: float) -> None:
        self.open = 0  # connections open or being opened
        self.wake = asyncio.Event()
        self._slots = slots
        self._limit = limit
        self._rate = rate
        self._bucket = _bucket(rate)
        self._number = count()  # tells apart two entries of one watch, which was given up and taken up again
        self._sleeping: list[tuple[float, int, C]] = []  # by the time that they are due
        self._due: list[tuple[int, int, int, C]] = []  # oldest watch first

    def update(self, *, limit: int, rate: float) -> None:
        """Take new limits; what is open stays open."""
        self._limit = limit
        if rate != self._rate:
            self._rate, self._bucket = rate, _bucket(rate)
        self.wake.set()

    def now(self, candidate: C) -> None:
        """Let one connect as soon as it may."""
        self._push(candidate)
        self.wake.set()

    def later(self, candidate: C, due: float) -> None:
        """Let one connect at a time of the loop's clock, or when it may after that."""
        heappush(self._sleeping, (due, next(self._number), candidate))
        self.wake.set()

    def hurry(self) -> None:
        """Let nobody sleep any longer."""
        for _, _, candidate in self._sleeping:
            self._push(candidate)
        self._sleeping.clear()
        self.wake.set()

    def next(self, now: float) -> C | float | None:
        """Return who connects now, the seconds until somebody may, or None: not before something happens.

        Whoever is returned counts as connected until `ended`.
        """
        while self._sleeping and self._sleeping[0][0] <= now:
            self._push(heappop(self._sleeping)[2])
        while self._due and self._due[0][-1].gone:
            heappop(self._due)
        sleep = self._sleeping[0][0] - now if self._sleeping else None
        if not self._due or self.open >= self._limit:
            self._slots.leave(self.wake)
            return sleep
        if (pause := self._bucket.wait(now)) > 0:
            self._slots.leave(self.wake)
            return pause if sleep is None else min(pause, sleep)
        if not self._slots.take(self.wake):
            return sleep
        self._bucket.take()
        self.open += 1
        return heappop(self._due)[-1]

    def ended(self) -> None:
        """Hear that a connection has ended."""
        self.open -= 1
        self._slots.give_back()
        self.wake.set()

    def close(self) -> None:
        """Leave the turn at slots to others."""
        self._slots.leave(self.wake)

    def _push(self, candidate: C) -> None:
        heappush(self._due, (candidate.watch.created_at, candidate.watch.pk, next(self._number), candidate))


def _bucket(rate: float) -> TokenBucket:
    return TokenBucket(rate, max(1.0, rate * RAMP))
