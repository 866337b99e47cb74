"""Carries out the requests of inputs: in the store first, then in the watcher."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from notifier.core.model import Micros, NewWatch
from notifier.follow import Watcher
from notifier.store import Store


class Intake:
    """Adds and removes watches for queues. Both methods return after the commit; they raise StoreUnavailable."""

    def __init__(self, *, store: Store, watcher: Watcher, clock: Callable[[], Micros]) -> None:
        self._store = store
        self._watcher = watcher
        self._clock = clock

    async def apply(self, watches: Sequence[NewWatch]) -> None:
        """Add these watches. One that exists stays unchanged."""
        applied = await self._store.watches.apply(watches, origin="queue", now=self._clock())
        if applied.added:
            self._watcher.wake()

    async def remove(self, source: str, task_id: str) -> None:
        """Remove a watch, if it exists."""
        removed = await self._store.watches.remove(source, task_id, now=self._clock())
        if removed is not None:
            self._watcher.drop([removed])
