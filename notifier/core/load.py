"""Whether an endpoint refuses because of the load that this program puts on it. Pure; times are seconds of any clock.

A refusal alone does not say. A receiver with a fault in one of its backends refuses at random, and sending less to it
only loses throughput. A receiver with ten places refuses the eleventh request, and sending less to it loses nothing.
The two differ in one respect: if load is the cause, refused attempts met a higher load than accepted ones.

The load that counts is the accepted one, since a refused attempt takes no place. So an attempt is judged in hindsight,
once it is known how the attempts ended that were in flight when it began. Two measures are taken of each:

- how many accepted attempts were in flight at its beginning: high for refused ones if the receiver has few places;
- how many were accepted in the second before, and how long ago the last one began: high and short for refused ones if
  the receiver limits a rate.

`separation` compares both groups by rank (Mann and Whitney), so that no distribution has to be assumed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

KEEP = 256  # attempts that are compared: enough for a share of 2 %, few enough to follow a change
MOST = 0.85  # of them, that may be refused ones
CERTAINTY = 4.0  # standard deviations: chance alone reaches it once in 30,000 comparisons
CLEAR = 0.8  # of all pairs, those in which the refused attempt met the higher load; 0.5 is chance
LONGEST_QUEUE = 1024  # attempts that wait for one that has not ended
SECOND = 1.0  # over which a rate is measured
SPAN = 2.0  # seconds that attempts have to cover before a rate is read from them
ACCEPTED = 5  # accepted attempts that a rate is read from, at least


@dataclass(frozen=True, slots=True)
class _Open:
    """An attempt that has not ended."""

    began: float
    accepted: int  # attempts that had ended well when it began


@dataclass(frozen=True, slots=True)
class Sample:
    """An attempt that is compared with others: the load that it met, and its end."""

    began: float  # seconds
    beside: int  # accepted attempts in flight at its beginning
    lately: int  # accepted attempts that began in the second before
    gap: float  # seconds since the last accepted attempt began
    accepted: bool


class LoadRecord:
    """The loads that the last attempts at one endpoint met."""

    __slots__ = (
        "_before",
        "_ended",
        "_ended_well",
        "_last",
        "_lately",
        "_next",
        "_open",
        "_refused",
        "_samples",
        "_skipped",
        "_thinning",
        "_unsettled",
    )

    def __init__(self) -> None:
        self._next = 0  # the number of the attempt that begins next
        self._unsettled = 0  # the first attempt whose load is not known yet
        self._open: dict[int, _Open] = {}
        self._ended: dict[int, tuple[_Open, bool | None]] = {}  # of unknown load, by number
        self._ended_well = 0  # accepted attempts, in all
        self._before = 0  # of them, those whose load is known
        self._last: float | None = None  # when the last accepted attempt began
        self._lately: deque[float] = deque()  # when those of the last second began
        self._samples: deque[Sample] = deque()
        self._refused = 0  # of them, those that were refused
        self._thinning = 1  # of so many refused attempts one is kept, where few are accepted
        self._skipped = 0  # refused attempts since the last one that was kept

    def begin(self, now: float) -> int:
        """Record the beginning of an attempt; return its number."""
        number = self._next
        self._next += 1
        self._open[number] = _Open(now, self._ended_well)
        return number

    def end(self, number: int, accepted: bool | None, now: float, *, patience: float) -> None:
        """Record how an attempt ended.

        `accepted` is None if it says nothing of load. `patience` is the number of seconds within which nearly all
        attempts end: later ones are not waited for, count as refused for the loads of others, and are not compared.
        """
        attempt = self._open.pop(number)
        if accepted:
            self._ended_well += 1
        if number >= self._unsettled:
            self._ended[number] = (attempt, accepted)
        else:
            self._before += bool(accepted)
        # The loads are known of all attempts whose predecessors have ended, or began too long ago.
        while self._unsettled < self._next:
            first = self._unsettled
            if first in self._ended:
                self._take(*self._ended.pop(first))
            elif self._open[first].began > now - patience and len(self._ended) < LONGEST_QUEUE:
                return
            self._unsettled += 1

    @property
    def following(self) -> int:
        """Return the number of the next attempt."""
        return self._next

    def is_open(self, number: int) -> bool:
        """Return whether an attempt has not ended."""
        return number in self._open

    def clear(self) -> None:
        """Forget the loads, since the limits are others now."""
        self._samples.clear()
        self._refused = 0
        self._thinning = 1

    def places(self) -> int | None:
        """Return how many attempts the endpoint accepts at a time; None if its refusals have another cause."""
        refused = [sample.beside for sample in self._samples if not sample.accepted]
        accepted = [sample.beside for sample in self._samples if sample.accepted]
        return _threshold(refused, accepted) if separated(refused, accepted) else None

    def rate(self) -> float | None:
        """Return how many attempts a second the endpoint accepts; None if its refusals have another cause."""
        refused = [sample for sample in self._samples if not sample.accepted]
        accepted = [sample for sample in self._samples if sample.accepted]
        if len(accepted) < ACCEPTED or self._samples[-1].began - self._samples[0].began < SPAN:
            return None
        by_count = separated([each.lately for each in refused], [each.lately for each in accepted])
        by_gap = separated([-each.gap for each in refused], [-each.gap for each in accepted])
        if not by_count and not by_gap:
            return None
        span = accepted[-1].began - accepted[0].began  # 0 if a coarse clock saw all of them begin at once
        return (len(accepted) - 1) / span if span > 0 else None

    def _take(self, attempt: _Open, accepted: bool | None) -> None:
        """Take the load that an attempt met, which is known now."""
        while self._lately and self._lately[0] <= attempt.began - SECOND:
            self._lately.popleft()
        if accepted or (accepted is not None and not self._skips()):
            gap = SECOND if self._last is None else min(attempt.began - self._last, SECOND)
            beside = self._before - attempt.accepted
            self._samples.append(Sample(attempt.began, beside, len(self._lately), gap, accepted))
            self._refused += not accepted
            if len(self._samples) > KEEP:
                self._refused -= not self._samples.popleft().accepted
                if self._refused > MOST * KEEP:
                    self._thin()
        if accepted:
            self._before += 1
            self._last = attempt.began
            self._lately.append(attempt.began)

    def _skips(self) -> bool:
        """Return whether the next refused attempt is not kept."""
        self._skipped = (self._skipped + 1) % self._thinning
        return self._skipped > 0

    def _thin(self) -> None:
        """Keep fewer refused attempts, so that there is room for the accepted ones of the same time."""
        self._thinning *= 2
        kept: deque[Sample] = deque()
        keep = False
        for sample in self._samples:
            keep = keep if sample.accepted else not keep
            if sample.accepted or keep:
                kept.append(sample)
        self._samples = kept
        self._refused = sum(not sample.accepted for sample in kept)


def separated(refused: Sequence[float], accepted: Sequence[float]) -> bool:
    """Return whether refused attempts met a clearly higher load than accepted ones, by more than chance."""
    pairs = len(refused) * len(accepted)
    if not pairs:
        return False
    ordered = sorted(accepted)
    higher = sum(bisect_left(ordered, load) + bisect_right(ordered, load) for load in refused) / 2
    deviation = (pairs * (len(refused) + len(accepted) + 1) / 12) ** 0.5
    return higher >= CLEAR * pairs and higher - pairs / 2 >= CERTAINTY * deviation


def _threshold(refused: Sequence[int], accepted: Sequence[int]) -> int:
    """Return the load that best divides accepted attempts, below it, from refused ones."""

    def fit(load: int) -> float:
        return sum(value < load for value in accepted) / len(accepted) - sum(value < load for value in refused) / len(
            refused
        )

    return max(sorted({*refused, *accepted}), key=fit)
