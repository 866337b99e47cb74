"""The clock of all dates: this machine's, or the database's where several nodes share one.

A clock may be set. Dates follow that, so that they are right for their readers. Durations do not: they are measured on
CLOCK_BOOTTIME, which nobody sets and which runs on while the machine sleeps.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from uuid import UUID

from notifier.core.model import Micros

TOLERANCE = 20_000  # microseconds: a smaller difference, measured over a network, may be no difference
LEAP = 500_000  # microseconds by which a clock has to be set for durations to notice
SOON = 100_000  # microseconds after a look at both clocks in which a date is believed: too short to hide a leap
MAX_ERAS = 64  # settings of the clock that are remembered; a date from before counts as one of the oldest


@dataclass(frozen=True, slots=True, kw_only=True)
class Era:
    """A time in which nobody set the clock."""

    begins: Micros  # of CLOCK_BOOTTIME
    offset: Micros  # from CLOCK_BOOTTIME to dates

    @property
    def first(self) -> Micros:
        """Return its first date."""
        return self.begins + self.offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a machine's clock is set."""

    boot: int  # a number of the machine's present run, at random; 0: the system does not tell it
    offset: Micros  # from CLOCK_BOOTTIME to dates


class Clock:
    """Shows this machine's time until a database has reported its own; from then on it follows the database."""

    def __init__(self) -> None:
        self.follows = False  # a database
        self._eras: deque[Era] = deque(maxlen=MAX_ERAS)
        self._past: tuple[tuple[Micros, Micros, Micros], ...] = ()  # eras that ended, latest first: dates and offset
        self._looked = 0  # the date when both clocks were last compared
        uptime = _uptime()
        self._begin(uptime, _wall() - uptime)

    def __call__(self) -> Micros:
        """Return the date now."""
        if self.follows:
            return _uptime() + self._eras[-1].offset
        wall = time.time_ns() // 1000
        if 0 <= wall - self._looked < SOON:  # every change asks for the date several times
            return wall
        uptime, wall = _uptime(), _wall()
        if abs(wall - uptime - self._eras[-1].offset) > LEAP:
            uptime, wall = _together()  # the process may have been stopped between the two
            if abs(wall - uptime - self._eras[-1].offset) > LEAP:
                self._begin(uptime, wall - uptime)
        self._looked = wall
        return wall

    @property
    def era(self) -> Era:
        """Return the era of the present; another one after the clock was set."""
        self._look()
        return self._eras[-1]

    def eras_after(self, before: Era) -> tuple[tuple[Era, Micros], ...]:
        """Return the eras that began after another one, each with its last date so far, the latest first."""
        now = self._look()
        lasts = [*(next_.begins + era.offset for era, next_ in pairwise(self._eras)), now]
        return tuple(
            (era, last)
            for era, last in zip(reversed(self._eras), reversed(lasts), strict=True)
            if era.begins > before.begins
        )

    @property
    def setting(self) -> Setting:
        """Return how the clock is set now."""
        return Setting(boot=_boot(), offset=self.era.offset)

    def recall(self, before: Setting, moved: Era | None = None) -> tuple[Era, ...]:
        """Take over how the clock was set before this process; return those eras, oldest first, if it was set since.

        `moved` is the era that some dates follow already. Dates of these eras are then told from those of this one.
        Nothing is known of another run of the machine.
        """
        now = self.setting
        if not now.boot or before.boot != now.boot:
            return ()
        eras = (Era(begins=0, offset=before.offset), *([] if moved is None else [moved]))
        if moved is None and abs(before.offset - now.offset) <= LEAP:
            return ()
        self._eras.clear()
        for era in eras:
            self._begin(era.begins, era.offset)
        if abs(eras[-1].offset - now.offset) > LEAP:
            self._begin(_uptime(), now.offset)
        return eras

    def correct(self, reported: Micros, asked: Micros, answered: Micros) -> None:
        """Follow the time that a database reported between `asked` and `answered` of this clock."""
        if not self.follows:
            offset = self() - _uptime()
            self.follows = True
            self._eras.clear()  # a difference between two clocks is no setting of either
        else:
            offset = self._eras[-1].offset
        difference = reported - (asked + answered) // 2
        if abs(difference) > TOLERANCE + (answered - asked) // 2:
            offset += difference
        if self._eras and abs(offset - self._eras[-1].offset) <= LEAP:
            begins = self._eras.pop().begins
            self._eras.append(Era(begins=begins, offset=offset))
        else:
            self._begin(_uptime(), offset)

    def dated(self, date: Micros, now: Micros) -> Micros:
        """Return a date of something that ends `now` as one of the present era, though it began in the one before.

        So the dates that follow from it count as dates of the clock as it is now.
        """
        first = self._eras[-1].first
        return date if first <= date <= now else min(max(date, first), now)

    def elapsed(self, start: Micros, end: Micros) -> Micros:
        """Return the microseconds between two dates of this clock, at least 0, however it was set between them."""
        if not self._past:
            return end - start if end > start else 0
        return max(0, self._uptime_at(end) - self._uptime_at(start))

    def since(self, span: Micros) -> Micros:
        """Return the earliest date that this clock has shown in the last `span` microseconds."""
        self._look()
        moment = _uptime() - span
        eras = list(self._eras)
        while len(eras) > 1 and eras[1].begins <= moment:
            del eras[0]
        return min([moment + eras[0].offset, *(era.first for era in eras[1:])])

    def _look(self) -> Micros:
        """Compare both clocks; return the date now."""
        self._looked = 0
        return self()

    def steady(self) -> Micros:
        """Return a time that nobody sets, for durations alone: it is no date."""
        return _uptime()

    def _begin(self, uptime: Micros, offset: Micros) -> None:
        self._eras.append(Era(begins=uptime, offset=offset))
        ended = [(era.first, next_.begins + era.offset, era.offset) for era, next_ in pairwise(self._eras)]
        self._past = tuple(reversed(ended))

    def _uptime_at(self, date: Micros) -> Micros:
        """Return what CLOCK_BOOTTIME showed at a date. If several moments had that date, return the latest."""
        now, present = _uptime(), self._eras[-1]
        if present.first <= date <= now + present.offset:
            return date - present.offset
        for first, last, offset in self._past:
            if first <= date <= last:
                return date - offset
        oldest = self._eras[0]
        if date < oldest.first:
            return date - oldest.offset
        for era, next_ in reversed(list(pairwise(self._eras))):
            if next_.begins + era.offset < date < next_.first:  # the clock was set forward over it
                return next_.begins
        return now  # it is still to come


def boottime() -> float:
    """Return the seconds of a clock that nobody sets and that runs on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _boot() -> int:
    """Return a number of the machine's present run; 0 if the system does not tell it."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return UUID(text.strip()).int >> 65  # as many bits as databases have for an integer
    except (OSError, ValueError):
        return 0


def _together() -> tuple[Micros, Micros]:
    """Return what both clocks of the machine show at the same moment."""
    while True:
        before, wall = _uptime(), _wall()
        if _uptime() - before < TOLERANCE:
            return before, wall


def _wall() -> Micros:
    return time.time_ns() // 1000


def _uptime() -> Micros:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
