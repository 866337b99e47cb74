"""A long run: months of the daemon's time, with a task now and then, storms of hours, and crashes days apart.

Short runs show what may come between two steps. This one shows what takes weeks: rows that are pruned, ids and dates
that have come far, schedules of hours, and whatever grows. Loops that only look have longer periods in it, since a year
has more seconds than there is time to simulate each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from judge import Terms

from notifier.daemon import build, clock_follower, heartbeat, periodic
from notifier.deliver import callbacks
from notifier.follow import policy, watcher
from simulation.faults import DAY
from simulation.run import Result, Run, place, terms
from simulation.settings import SCHEDULE

HOUR = 3600.0
LOOKS = 600.0  # seconds between looks of loops that only look
STORM = 0.25  # the share of what goes wrong in a storm
EVERY = DAY  # between two tasks, on average


class Year(Run):
    """A run of many days."""

    def __init__(self, seed: int, directory: Path, *, days: float) -> None:
        super().__init__(seed, directory, lines=False)
        self._days = days

    def _plan(self) -> float:
        rng, agenda, span = self.scene.rng("year"), self.scene.agenda, self._days * DAY
        self.scene.stormy, self.scene.trouble = False, STORM
        settings = self._operators.settings
        settings.schedule, settings.retention, settings.interval = (*SCHEDULE, 600.0, HOUR, 6 * HOUR), "7d", 10.0
        settings.longest = 120.0
        self._faults.done()
        for _ in range(round(span / EVERY)):
            agenda.after(rng.uniform(0.0, span), lambda: self._operators.add(rng.uniform(60.0, 3 * HOUR)))
        for _ in range(round(self._days / 5)):
            agenda.after(rng.uniform(0.0, span), lambda: self._storm(rng.uniform(60.0, 3 * HOUR)))
        for _ in range(round(self._days / 7)):
            agenda.after(rng.uniform(0.0, span), lambda: self._crash(rng.randint(1, 500)))
        for _ in range(round(self._days / 10)):
            agenda.after(rng.uniform(0.0, span), self._operators.change)
        return span

    def _storm(self, seconds: float) -> None:
        self.scene.stormy = True
        self._faults.begin()
        self.scene.agenda.after(seconds, self._storm_over)

    def _storm_over(self) -> None:
        self.scene.stormy = False
        self._faults.end()

    def _crash(self, steps: int) -> None:
        if self._operators.process is not None:
            self._operators.process.crash_in(steps)

    def terms(self) -> Terms:
        """Return what was agreed: rows of tasks that ended a week ago may be gone."""
        return replace(terms(self._operators.settings.schedule), pruned=True)


def long_run(seed: int, *, days: float) -> Result:
    """Run a seed for many days."""
    with few_looks(), place() as directory:
        return Year(seed, directory, days=days).run()


@contextmanager
def few_looks() -> Iterator[None]:
    """Have loops that only look do so every few minutes."""
    periods: list[tuple[object, str, object]] = [
        (clock_follower, "EVERY", LOOKS),
        (periodic, "STATUS_EVERY", LOOKS),
        (heartbeat, "TURN", LOOKS),
        (watcher, "LOOK_AGAIN", LOOKS),
        (build, "LOOK_AGAIN", LOOKS),
        (callbacks, "KEEP", 2 * LOOKS),
        (policy, "SWEEP", (120.0, 120.0)),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in periods]
    for module, name, period in periods:
        setattr(module, name, period)
    try:
        yield
    finally:
        for module, name, period in before:
            setattr(module, name, period)
