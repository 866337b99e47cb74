"""Work at fixed intervals: old rows are pruned, the clock is watched, and systemd receives the daemon's status."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import structlog

from notifier.core.errors import StoreUnavailable
from notifier.core.model import Micros
from notifier.runtime.clock import Clock, Era
from notifier.runtime.systemd import SystemdNotifier
from notifier.store import BEFORE_ALL, ClockShift, Store, Written

log = structlog.get_logger(__name__)

PRUNE_EVERY = 3600.0  # seconds
CLOCK_EVERY = 1.0  # seconds between looks at the clock
STATUS_EVERY = 5.0  # seconds between status lines to systemd
UNDER_WAY = 10_000_000  # microseconds: others may write dates until a transaction begins


async def prune(store: Store, *, retention: Callable[[], float], clock: Clock) -> None:
    """Delete what ended and was settled more than `retention()` seconds ago; until cancelled."""
    while True:
        before = clock.since(round(retention() * 1e6))
        try:
            rows = await store.prune(before)
        except StoreUnavailable:
            rows = 0  # the store has logged it; the next turn tries again
        if rows:
            log.info("store.pruned", rows=rows)
        await asyncio.sleep(PRUNE_EVERY)


class Redating:
    """The settings of the clock between two looks, and the rows whose dates do not follow them yet.

    Each row is moved once, by as much as the clock was set since it wrote the row.
    """

    def __init__(self, *, before: Era, now: Era) -> None:
        """Move the dates of `before`, and of the settings in between, to `now`."""
        self._before = before
        self._now = now
        self._watches: int | None = BEFORE_ALL  # the keys to continue after; None: done
        self._deliveries: int | None = BEFORE_ALL

    async def finish(self, store: Store, clock: Clock) -> None:
        """Move the remaining dates. Raises StoreUnavailable; the next call then continues."""
        while self._watches is not None:
            self._watches = await store.watches.redate(self._shift(clock), after=self._watches)
        while self._deliveries is not None:
            self._deliveries = await store.outbox.redate(self._shift(clock), after=self._deliveries)

    def _shift(self, clock: Clock) -> ClockShift:
        (latest, last), *others = clock.eras_after(self._before)
        dated = ((latest, last + UNDER_WAY), *others)
        return ClockShift(
            by=self._now.offset - self._before.offset,
            written=tuple(
                # Dates of a later setting stay: they are moved, if it was set again, by the next Redating.
                Written(first=era.first, last=last, by=max(self._now, era, key=_begins).offset - era.offset)
                for era, last in dated
            ),
        )


def _begins(era: Era) -> Micros:
    return era.begins


async def recall_clock(store: Store, clock: Clock) -> Era | None:
    """Return how the clock was set before it was set while nothing ran, if it was. Raises StoreUnavailable."""
    last = None if store.clock is None else await store.clock.last()
    return None if last is None else clock.recall(last)


async def follow_clock(
    store: Store,
    *,
    clock: Clock,
    longest_wait: Callable[[], float],
    look: Callable[[], None],
    before: Era | None = None,
) -> None:
    """Move the dates of open rows whenever the clock is set, then call `look`; until cancelled.

    If the clock was set while nothing ran, `before` is the era of those dates, as far as that is known.

    On a shared store the clock is the database's, and the dates of watches are left to the nodes' memory: no node can
    tell which of the others' dates were moved. `longest_wait` are the seconds that a delivery may wait for an attempt.
    """
    settings: deque[Redating] = deque()  # that dates do not follow yet, the oldest first
    due = False  # dates have to be looked at
    while True:
        era, known = clock.era, store.nodes is None or clock.follows  # of a database, it has not been heard at first
        if known and (before is None or era.begins != before.begins):
            if before is not None and store.nodes is None:
                log.warning("clock.set", seconds=round((era.offset - before.offset) / 1e6, 3))
                settings.append(Redating(before=before, now=era))
            before, due = era, True
        if due:
            try:
                while settings:
                    await settings[0].finish(store, clock)
                    settings.popleft()
                now = clock()
                await store.watches.begin(now=now)
                await store.outbox.pull(latest=now + round(longest_wait() * 1e6), now=now)
                if store.clock is not None:
                    await store.clock.keep(replace(clock.setting, offset=era.offset))
            except StoreUnavailable:
                pass  # the store has logged it; the next turn continues
            else:
                due = False
                look()
        await asyncio.sleep(CLOCK_EVERY)


async def report(systemd: SystemdNotifier, line: Callable[[], str], *, true: asyncio.Event) -> None:
    """Send the watchdog's signal and the status line until cancelled; it runs on the loop that everything runs on.

    The first line waits until it is `true`: at the start the watches are still to be claimed.
    """
    every = min(STATUS_EVERY, systemd.watchdog_interval or STATUS_EVERY)
    while not true.is_set():
        systemd.watchdog()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every):
                await true.wait()
    while True:
        systemd.watchdog()
        systemd.status(line())
        await asyncio.sleep(every)
