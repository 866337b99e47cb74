"""The time that everything is dated by: this machine's, or the database's where several nodes share one."""

from __future__ import annotations

import time

from notifier.core.model import Micros

TOLERANCE = 20_000  # microseconds: measured over a network, a smaller difference may be none


class Clock:
    """Tells the time; corrected by what a database says."""

    def __init__(self) -> None:
        self._offset = 0

    def __call__(self) -> Micros:
        """Return the time now."""
        return time.time_ns() // 1000 + self._offset

    def correct(self, told: Micros, asked: Micros, heard: Micros) -> None:
        """Take over a time that was told between `asked` and `heard` of this clock."""
        difference = told - (asked + heard) // 2
        if abs(difference) > TOLERANCE + (heard - asked) // 2:
            self._offset += difference


def boottime() -> float:
    """Return seconds of a clock that nobody sets, and that also runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
