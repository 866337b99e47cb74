"""Watches that this node may not own any more, or not as it knows them."""

from __future__ import annotations

from collections.abc import Iterable

from notifier.core.model import Watch
from notifier.runtime.wake import Wake


class Unsure:
    """Keeps watches until the watcher releases them; it claims those that are free again, as they are then."""

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
