"""Work at fixed intervals: old rows are pruned, and systemd receives the daemon's status."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from notifier.core.errors import StoreUnavailable
from notifier.runtime.clock import Clock
from notifier.runtime.systemd import SystemdNotifier
from notifier.store import Store

log = structlog.get_logger(__name__)

PRUNE_EVERY = 3600.0  # seconds
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
