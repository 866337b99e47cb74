"""Counts of the store's rows, for whoever asks: as fresh as they are cheap, and of several nodes one counts for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from notifier import __version__
from notifier.core.model import Json, Micros

FRESH = 2.0  # seconds that a count serves for, at least
STALE = 60.0  # at most: whoever looks at counts of minutes ago draws wrong conclusions
SPARING = 20  # times as long as it took: counting takes a twentieth of one core of the database, whatever there is


class Counting:
    """Remembers the last count, its own or another node's."""

    def __init__(
        self,
        summary: Callable[[], Awaitable[Json]],
        *,
        clock: Callable[[], Micros],
        told: Callable[[], Sequence[Mapping[str, Any]]],
    ) -> None:
        """Make ready; `summary` counts, `told` returns what nodes tell of themselves, `shared` among it."""
        self._summary = summary
        self._clock = clock
        self._told = told
        self._lock = asyncio.Lock()
        self._counted: Json = None  # counts, with the time `at` which and the seconds that they are good `for`

    @property
    def shared(self) -> Json | None:
        """Return the last count of this node, if it is good for so long that other nodes should know it."""
        return self._counted if self._counted is not None and self._counted["for"] > FRESH else None

    async def counts(self) -> Json:
        """Return counts, new ones if the last have become too old. Raises StoreUnavailable."""
        async with self._lock:  # who asks while others count takes what they found
            known = self._newest()
            if known is None:
                known = self._counted = await self._count()
            counts: Json = known["counts"]
            return counts

    async def _count(self) -> Json:
        at, began = self._clock(), time.monotonic()
        counts = await self._summary()
        took = time.monotonic() - began
        return {"by": __version__, "at": at, "for": round(min(STALE, max(FRESH, SPARING * took)), 3), "counts": counts}

    def _newest(self) -> Json | None:
        now = self._clock()
        told = [self._counted, *(status.get("counted") for status in self._told())]
        own = [each for each in told if each is not None and each["by"] == __version__]  # another may count otherwise
        fresh = [each for each in own if each["at"] <= now < each["at"] + each["for"] * 1e6]
        return max(fresh, key=lambda each: int(each["at"]), default=None)
