"""The mutes in force, as this node knows them: read from the store now and then, and at once after its own changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from notifier.core.errors import StoreUnavailable
from notifier.core.model import Delivery, Micros
from notifier.core.mute import Mute, covering
from notifier.store import Store

log = structlog.get_logger(__name__)

REMEMBERED = 86_400_000_000 * 7  # microseconds after its end for which a mute still covers what happened during it


class ActiveMutes:
    """Knows the mutes, and which of them covers a delivery."""

    def __init__(self, *, store: Store, clock: Callable[[], Micros]) -> None:
        self._store = store
        self._clock = clock
        self._mutes: tuple[Mute, ...] = ()
        self._lock = asyncio.Lock()  # held while the store is asked: an older answer must not replace a newer one

    @property
    def active(self) -> tuple[Mute, ...]:
        """Return the mutes that last, oldest first."""
        now = self._clock()
        return tuple(mute for mute in self._mutes if now < mute.until)

    def covering(self, delivery: Delivery) -> Mute | None:
        """Return a mute that covers a delivery, to an endpoint that people read."""
        concerned = [mute for mute in self._mutes if mute.concerns(delivery.endpoint)]
        if not concerned:
            return None
        return covering(concerned, delivery.endpoint, _labels(delivery), at=delivery.observed_at, now=self._clock())

    async def add(self, mute: Mute) -> None:
        """Add a mute. Raises StoreUnavailable."""
        async with self._lock:
            await self._store.mutes.add(mute)
            log.info("mute.added", id=mute.id, endpoint=mute.endpoint, labels=dict(mute.labels))
            self._mutes = (*self._mutes, mute)

    async def remove(self, mute: str) -> bool:
        """Remove a mute; return whether there was one. Raises StoreUnavailable."""
        async with self._lock:
            removed = await self._store.mutes.remove(mute)
            if removed:
                log.info("mute.removed", id=mute)
                self._mutes = tuple(each for each in self._mutes if each.id != mute)
            return removed

    async def look(self) -> bool:
        """Take over what other nodes have changed, and return whether anything has.

        While the store is away, the mutes that are known hold.
        """
        async with self._lock:
            before = self._mutes
            try:
                self._mutes = tuple(await self._store.mutes.since(self._clock() - REMEMBERED))
            except StoreUnavailable:
                return False
            return self._mutes != before


def _labels(delivery: Delivery) -> Mapping[str, str]:
    """Return the labels of a delivery's watch; an event of no watch has none."""
    try:
        event: Any = json.loads(delivery.body)
        labels = event["data"]["watch"]["labels"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return {}
    return labels if isinstance(labels, dict) else {}
