"""Adds and removes watches for queues: in the store first, then in the watcher."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from notifier.config import Config, ConfigInForce
from notifier.core.model import Micros, NewWatch
from notifier.follow import Watcher
from notifier.store import Store


class Intake:
    """Adds and removes watches. `apply` and `remove` return after the commit, and raise StoreUnavailable."""

    def __init__(self, *, in_force: ConfigInForce, store: Store, watcher: Watcher, clock: Callable[[], Micros]) -> None:
        self._in_force = in_force
        self._store = store
        self._watcher = watcher
        self._clock = clock

    @property
    def config(self) -> Config:
        """Return the configuration in force, by which messages are read."""
        return self._in_force.config

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
