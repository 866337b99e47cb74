"""Keeps the watches that this node gives back: it may not own them any more, or they may have changed."""

from __future__ import annotations

from collections.abc import Iterable

from notifier.core.model import Watch
from notifier.runtime.wake import Wake


class Unsure:
    """Keeps such watches until the watcher releases them in the store, and then claims what is free, as it is now."""

    def __init__(self, wake: Wake) -> None:
        """Set `wake` when there are any."""
        self._wake = wake
        self._watches: list[Watch] = []

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, watches: Iterable[Watch]) -> None:
        """Have these released."""
        self._watches.extend(watches)
        if self._watches:
            self._wake.set()

    def take(self) -> list[Watch]:
        """Return all, and keep none."""
        watches, self._watches = self._watches, []
        return watches
