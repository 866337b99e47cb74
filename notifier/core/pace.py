"""Exponential backoff and a token bucket. Time and randomness are arguments."""

from __future__ import annotations

MAX_DOUBLINGS = 32  # keeps 2**n finite at any number of failures


def backoff(failures: int, *, initial: float, ceiling: float, jitter: float) -> float:
    """Return the seconds to wait after `failures` failures in a row, at least one.

    The wait is random below a bound that doubles from `initial` to `ceiling`, both in seconds; `jitter` is random in
    [0, 1).
    """
    return min(ceiling, initial * 2.0 ** min(failures - 1, MAX_DOUBLINGS)) * jitter


class TokenBucket:
    """Allows `rate` actions a second, and `burst` of them at once."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float = 1.0) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("rate has to be positive and burst at least 1")
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def wait(self, now: float) -> float:
        """Return the seconds until the next action is allowed; 0.0: now. `now` is in seconds of any clock."""
        if self._at is not None:  # a clock that went back earns no tokens
            self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        # A billionth less than a token counts as one: rounding would otherwise cause a useless wait.
        return 0.0 if self._tokens >= 1 - 1e-9 else (1 - self._tokens) / self._rate

    def take(self) -> None:
        """Count one action, after `wait` returned 0.0."""
        self._tokens -= 1

    def drain(self, now: float) -> None:
        """Remove all tokens: the next action must wait as if one had happened now."""
        self._tokens, self._at = 0.0, now
