"""How many attempts may be in flight at an endpoint, and how many may begin in a second. Pure; seconds of any clock.

Both are limits that adapt: they rise by a step for what is accepted and fall by at most a half where load is the cause
of refusals (`core/load.py` decides that). Near the value at which a limit last fell it rises rarely, and ever more
rarely while that value holds, so that finding out whether there is room now costs few refusals.
"""

from __future__ import annotations

HOLD = 1.0  # seconds between steps near the value at which a limit fell, at first
LONGEST_HOLD = 20.0  # seconds: each fall doubles the hold, up to this
DOUBLING = 0.5  # seconds that a window takes at least to double after an outage: from 1 to 32 in 2.5 s
UNUSED = 30.0  # seconds without a wait after which a pace is given up


class Window:
    """The number of attempts that may be in flight: from one to `cap`."""

    __slots__ = ("_ceiling", "_credit", "_hold", "_ramping", "_step_at", "cap", "size")

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.size = cap
        self._ceiling: int | None = None  # where it last fell
        self._hold = HOLD
        self._step_at = 0.0  # not to rise before, near the ceiling or after an outage
        self._credit = 0  # accepted attempts since the last step
        self._ramping = False  # doubles, after an outage

    def limit(self, cap: int) -> None:
        """Take another `cap`; an endpoint that was not held back before is not held back now."""
        free = self.size >= self.cap
        self.cap = cap
        self.size = cap if free else min(self.size, cap)

    def restart(self, now: float) -> None:
        """Begin from one, after an outage."""
        self.size, self._credit, self._ramping, self._ceiling = 1, 0, True, None
        self._hold, self._step_at = HOLD, now + DOUBLING

    def accepted(self, now: float) -> None:
        """Rise by a step once as many were accepted as may be in flight."""
        if self.size >= self.cap:
            return
        self._credit += 1
        if self._credit < self.size or (self._near and now < self._step_at):
            return
        self._credit = 0
        if self._ramping:
            self.size, self._step_at = min(2 * self.size, self.cap), now + DOUBLING
        else:
            if self._ceiling is not None and self.size > self._ceiling:  # there is room after all
                self._hold = max(self._hold / 2, HOLD)
            self._step_at = now + self._hold
            self.size += 1
        self._ramping = self._ramping and self.size < self.cap

    def fall(self, to: int, now: float) -> bool:
        """Fall to `to`, but by a half at most; return whether that is lower."""
        size = max(1, to, self.size // 2)
        if size >= self.size:
            return False
        self.size, self._ceiling, self._credit, self._ramping = size, size, 0, False
        self._hold = min(2 * self._hold, LONGEST_HOLD)
        self._step_at = now + self._hold
        return True

    def halve(self) -> None:
        """Fall by a half; accepted attempts raise it again at once."""
        self.size, self._credit, self._ramping = max(1, self.size // 2), 0, False

    @property
    def _near(self) -> bool:
        return self._ramping or (self._ceiling is not None and self.size >= self._ceiling)


class Pace:
    """The number of attempts that may begin in a second; none is set at first."""

    __slots__ = ("_ceiling", "_hold", "_next", "_step_at", "_waited", "rate")

    def __init__(self) -> None:
        self.rate: float | None = None  # a second
        self._ceiling = 0.0  # where it last fell
        self._hold = HOLD
        self._step_at = 0.0
        self._next = 0.0  # when the next attempt may begin
        self._waited = 0.0  # when an attempt last had to wait

    def wait(self, now: float) -> float:
        """Return the seconds until an attempt may begin."""
        if self.rate is None or now >= self._next:
            return 0.0
        self._waited = now
        return min(self._next - now, 1 / self.rate)  # a clock that was set back holds nothing

    def take(self, now: float) -> None:
        """Count an attempt that begins now."""
        if self.rate is not None:
            self._next = max(self._next, now - 1 / self.rate) + 1 / self.rate

    def accepted(self, now: float) -> None:
        """Rise by a twentieth of the rate at which it fell, once in each hold; end where it holds nothing back."""
        if self.rate is None or now < self._step_at:
            return
        if now - self._waited > UNUSED:
            self.rate = None
            return
        self.rate += self._ceiling / 20
        self._hold = max(self._hold / 2, HOLD)
        self._step_at = now + self._hold

    def fall(self, to: float, now: float) -> bool:
        """Fall to `to` attempts a second, but by a half at most; return whether that is lower."""
        rate = to if self.rate is None else max(to, self.rate / 2)
        if self.rate is not None and rate >= self.rate:
            return False
        self.rate = self._ceiling = rate
        self._hold = min(2 * self._hold, LONGEST_HOLD)
        self._step_at, self._waited = now + self._hold, now
        return True

    def end(self) -> None:
        """Hold nothing back any more."""
        self.rate, self._hold = None, HOLD
