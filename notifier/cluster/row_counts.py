"""Counts of the store's rows. The cheaper a count is, the fresher it is kept; one node counts for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from notifier import __version__
from notifier.core.model import Json, Micros
from notifier.store import Lists

FRESH = 2.0  # seconds that a count is used, at least
STALE = 60.0  # seconds, at most: counts of minutes ago mislead
LATELY = 86_400_000_000  # microseconds for which a watch that was given up is told: a night, and who was on duty
SPARING = 20  # times as long as the count took: counting takes at most a twentieth of one core of the database


class RowCounts:
    """Remembers the last count, this node's or another one's."""

    def __init__(self, lists: Lists, *, clock: Callable[[], Micros]) -> None:
        self._lists = lists
        self._clock = clock
        self._lock = asyncio.Lock()
        self._counted: Json = None  # counts, the time `at` which they were taken, the seconds `for` their use
        self._since: Micros = 0  # counts of other nodes are used if they were taken after this

    @property
    def shared(self) -> Json | None:
        """Return this node's last count, if it is used for so long that other nodes should have it."""
        return self._counted if self._counted is not None and self._counted["for"] > FRESH else None

    async def counts(self, statuses: Sequence[Mapping[str, Any]]) -> Json:
        """Return the last counts, of this node or in one of the nodes' statuses; new ones if those are too old.

        Raises StoreUnavailable.
        """
        async with self._lock:  # a caller that waits for another one's count uses it
            known = self._newest(statuses)
            if known is None:
                known = self._counted = await self._count()
            counts: Json = known["counts"]
            return counts

    async def anew(self) -> Json:
        """Count now: the rows have changed at one go, and no count before this one is used any more.

        Raises StoreUnavailable.
        """
        async with self._lock:
            self._counted, self._since = None, self._clock()
            self._counted = await self._count()
            counts: Json = self._counted["counts"]
            return counts

    async def _count(self) -> Json:
        at, began = self._clock(), time.monotonic()
        counts = await self._lists.summary(lost_since=at - LATELY)
        took = time.monotonic() - began
        return {"by": __version__, "at": at, "for": round(min(STALE, max(FRESH, SPARING * took)), 3), "counts": counts}

    def _newest(self, statuses: Sequence[Mapping[str, Any]]) -> Json | None:
        now = self._clock()
        others = [each for status in statuses if (each := status.get("counted")) is not None]
        counts = [self._counted, *(each for each in others if each["at"] >= self._since)]
        # Another version may count differently.
        own = [each for each in counts if each is not None and each["by"] == __version__]
        fresh = [each for each in own if each["at"] <= now < each["at"] + each["for"] * 1e6]
        return max(fresh, key=lambda each: int(each["at"]), default=None)
