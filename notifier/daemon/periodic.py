"""Work at fixed intervals: old rows are pruned, and systemd receives the daemon's status."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from notifier.config import ConfigInForce
from notifier.core.errors import StoreUnavailable
from notifier.runtime.clock import Clock
from notifier.runtime.systemd import SystemdNotifier
from notifier.store import Store
from notifier.web import StatusReport

log = structlog.get_logger(__name__)

PRUNE_EVERY = 3600.0  # seconds
STATUS_EVERY = 5.0  # seconds between status lines to systemd


async def prune(store: Store, *, in_force: ConfigInForce, clock: Clock) -> None:
    """Delete what ended and was settled longer ago than the configuration keeps it; until cancelled."""
    while True:
        before = clock.since(round(in_force.config.store.retention * 1e6))
        try:
            rows = await store.prune(before)
        except StoreUnavailable:
            rows = 0  # the store has logged it; the next turn tries again
        if rows:
            log.info("store.pruned", rows=rows)
        await asyncio.sleep(PRUNE_EVERY)


async def report(systemd: SystemdNotifier, status: StatusReport, *, true: asyncio.Event) -> None:
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
        systemd.status(status.line())
        await asyncio.sleep(every)
