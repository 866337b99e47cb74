"""What is done every so often, whatever else goes on: old rows are forgotten, and systemd is told how things are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from notifier.core.errors import StoreUnavailable
from notifier.core.model import Micros
from notifier.runtime.systemd import SystemdNotifier
from notifier.store.store import Store

log = structlog.get_logger(__name__)

PRUNE_EVERY = 3600.0  # seconds
STATUS_EVERY = 5.0  # seconds between status lines to systemd


async def prune(store: Store, *, retention: Callable[[], float], clock: Callable[[], Micros]) -> None:
    """Forget what ended and was settled longer ago than `retention()` seconds; until cancelled."""
    while True:
        before = clock() - round(retention() * 1e6)
        try:
            rows = await store.prune(before)
        except StoreUnavailable:
            rows = 0  # the store has said so; there is another time
        if rows:
            log.info("store.pruned", rows=rows)
        await asyncio.sleep(PRUNE_EVERY)


async def tell(systemd: SystemdNotifier, line: Callable[[], str]) -> None:
    """Keep the watchdog quiet and the status line true, until cancelled; runs on the loop that everything runs on."""
    every = min(STATUS_EVERY, systemd.watchdog_interval or STATUS_EVERY)
    while True:
        systemd.watchdog()
        systemd.status(line())
        await asyncio.sleep(every)
