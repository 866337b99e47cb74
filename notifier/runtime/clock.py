"""The time that everything is dated by: this machine's, or the database's where several nodes share one."""

from __future__ import annotations

import time

from notifier.core.model import Micros

TOLERANCE = 20_000  # microseconds: measured over a network, a smaller difference may be none


class Clock:
    """Tells this machine's time until a database has told its own; from then on it goes by that.

    Whoever sets this machine's clock then changes nothing: with a leap of a day all that is followed would be overdue.
    """

    def __init__(self) -> None:
        self._offset: Micros | None = None  # of the database's time to a clock that nobody sets

    def __call__(self) -> Micros:
        """Return the time now."""
        return time.time_ns() // 1000 if self._offset is None else _uptime() + self._offset

    def correct(self, told: Micros, asked: Micros, heard: Micros) -> None:
        """Take over a time that was told between `asked` and `heard` of this clock."""
        if self._offset is None:
            self._offset = self() - _uptime()
        difference = told - (asked + heard) // 2
        if abs(difference) > TOLERANCE + (heard - asked) // 2:
            self._offset += difference


def boottime() -> float:
    """Return seconds of a clock that nobody sets, and that also runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _uptime() -> Micros:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
