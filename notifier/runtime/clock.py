"""The clock of all timestamps: this machine's, or the database's where several nodes share one."""

from __future__ import annotations

import time

from notifier.core.model import Micros

TOLERANCE = 20_000  # microseconds: a smaller difference, measured over a network, may be no difference


class Clock:
    """Shows this machine's time until a database has reported its own; from then on it follows the database.

    Setting this machine's clock then changes nothing: a leap of a day would make every watch overdue.
    """

    def __init__(self) -> None:
        self._offset: Micros | None = None  # from a clock that nobody sets to the database's time

    def __call__(self) -> Micros:
        """Return the time now."""
        return time.time_ns() // 1000 if self._offset is None else _uptime() + self._offset

    def correct(self, reported: Micros, asked: Micros, answered: Micros) -> None:
        """Follow the time that a database reported between `asked` and `answered` of this clock."""
        if self._offset is None:
            self._offset = self() - _uptime()
        difference = reported - (asked + answered) // 2
        if abs(difference) > TOLERANCE + (answered - asked) // 2:
            self._offset += difference


def boottime() -> float:
    """Return the seconds of a clock that nobody sets and that runs on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _uptime() -> Micros:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
