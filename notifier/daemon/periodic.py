"""Work at fixed intervals: old rows are pruned, the clock is watched, and systemd receives the daemon's status."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from notifier.core.errors import StoreUnavailable
from notifier.runtime.clock import Clock, Era
from notifier.runtime.systemd import SystemdNotifier
from notifier.store import ClockShift, Store

log = structlog.get_logger(__name__)

PRUNE_EVERY = 3600.0  # seconds
CLOCK_EVERY = 1.0  # seconds between looks at the clock
STATUS_EVERY = 5.0  # seconds between status lines to systemd


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


async def follow_clock(
    store: Store, *, clock: Clock, longest_wait: Callable[[], float], look: Callable[[], None]
) -> None:
    """Move the dates of rows that go on when the clock is set, until cancelled; then call `look`.

    On a shared store the clock is the database's, and the dates of watches are left to the nodes' memory: no node can
    tell which of the others' dates were moved. `longest_wait` are the seconds that a delivery may wait for an attempt.
    """
    before: Era | None = None  # None: it may have been set while nothing ran
    while True:
        era, known = clock.era, store.nodes is None or clock.follows  # of a database, it has not been heard at first
        if known and (before is None or era.begins != before.begins):
            now = clock()
            try:
                if before is not None and store.nodes is None:
                    log.warning("clock.set", seconds=round((era.offset - before.offset) / 1e6, 3))
                    shift = ClockShift(by=era.offset - before.offset, since=era.first, now=now)
                    await store.watches.redate(shift)
                    await store.outbox.redate(shift)
                await store.watches.begin(now=now)
                await store.outbox.pull(latest=now + round(longest_wait() * 1e6), now=now)
            except StoreUnavailable:
                pass  # the store has logged it; the next turn tries again
            else:
                before = era
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
