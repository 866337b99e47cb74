"""The dates of open rows follow the clock when it is set, so that ages and waits stay as they were."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import structlog

from notifier.config import Config, ConfigInForce
from notifier.core.errors import StoreUnavailable
from notifier.core.model import Micros
from notifier.core.retry import JITTER, LONGEST_OBEYED, SCHEDULE
from notifier.deliver import Dispatcher
from notifier.runtime.clock import Clock, Era
from notifier.store import ClockMemory, ClockShift, Store, Written

log = structlog.get_logger(__name__)

EVERY = 1.0  # seconds between looks at the clock
UNDER_WAY = 10_000_000  # microseconds: others may write dates until a transaction begins
LAST_LOOK = 5.0  # seconds that the look at the end may take; the next start goes on from there


async def recall(store: Store, clock: Clock) -> tuple[Era, ...]:
    """Return how the clock was set when dates followed it last, oldest first; nothing if it was not set since.

    There are two where not all dates had followed the second yet. Raises StoreUnavailable.
    """
    kept = None if store.clock is None else await store.clock.last()
    if kept is None:
        return ()
    return clock.recall(kept.setting, kept.moving)


class ClockFollower:
    """Moves the dates of open rows whenever the clock is set.

    On a shared store the clock is the database's, and the dates of watches are left to the nodes' memory: no node can
    tell which of the others' dates were moved.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        in_force: ConfigInForce,
        dispatcher: Dispatcher,
        before: Sequence[Era] = (),
    ) -> None:
        """Create one; `dispatcher` looks again after dates were moved, and `before` is what `recall` returned."""
        self._store = store
        self._clock = clock
        self._in_force = in_force
        self._dispatcher = dispatcher
        self._settings = deque(_Redating(before=each, now=later) for each, later in pairwise(before))
        self._before = before[-1] if before else None  # the era that dates follow, once all settings are done
        self._due = bool(self._settings)  # dates have to be looked at

    async def run(self) -> None:
        """Follow the clock until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    async def finish(self) -> None:
        """Follow the clock once more, after `run` and whatever writes dates: a start has to know what they follow."""
        try:
            async with asyncio.timeout(LAST_LOOK):
                await self.look()
        except TimeoutError:
            log.info("clock.unfinished", hint="the next start goes on with it")

    async def look(self) -> None:
        """Move the dates if the clock was set since the last look; while the store is away a later look does."""
        store, clock, before = self._store, self._clock, self._before
        era, known = clock.era, store.nodes is None or clock.follows  # of a database, it has not been heard at first
        if known and (before is None or era.begins != before.begins):
            if before is not None and store.nodes is None:
                log.warning("clock.set", seconds=round((era.offset - before.offset) / 1e6, 3))
                self._settings.append(_Redating(before=before, now=era))
            self._before, self._due = era, True
        if not self._due:
            return
        try:
            await self._move(era)
        except StoreUnavailable:
            return  # the store has logged it
        self._due = False
        self._dispatcher.look()

    async def _move(self, era: Era) -> None:
        store, clock = self._store, self._clock
        while self._settings and store.clock is not None:
            await self._settings[0].finish(store.clock, clock)
            self._settings.popleft()
        now = clock()
        await store.watches.begin(now=now)
        await store.outbox.pull(latest=now + round(_longest_wait(self._in_force.config) * 1e6), now=now)
        if store.clock is not None:
            await store.clock.keep(replace(clock.setting, offset=era.offset))


class _Redating:
    """The settings of the clock between two looks, which dates do not follow yet.

    Each row is moved once, by as much as the clock was set since it wrote the row.
    """

    def __init__(self, *, before: Era, now: Era) -> None:
        """Move the dates of `before`, and of the settings in between, to `now`."""
        self._before = before
        self._now = now

    async def finish(self, memory: ClockMemory, clock: Clock) -> None:
        """Move the dates that were not moved yet. Raises StoreUnavailable; the next call, or start, then goes on."""
        while await memory.move(self._now, self._shift(clock)):
            pass
        await memory.keep(replace(clock.setting, offset=self._now.offset))

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


def _longest_wait(config: Config) -> float:
    """Return the seconds that a delivery may wait for its next attempt."""
    schedules = [endpoint.retry_schedule for endpoint in config.endpoints.values()]
    return max(LONGEST_OBEYED, *SCHEDULE, *(wait for schedule in schedules for wait in schedule)) * (1 + JITTER)


def _begins(era: Era) -> Micros:
    return era.begins
