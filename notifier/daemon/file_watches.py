"""Stores the watches of the files, some hundred at a time, so that callbacks have turns in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from notifier.config import Config
from notifier.follow import Watcher
from notifier.runtime.clock import Clock
from notifier.store import BEFORE_ALL, Store


async def apply_files(
    config: Config, *, store: Store, watcher: Watcher, clock: Clock, replace: bool, hold: bool = False
) -> Mapping[str, int]:
    """Store a configuration's watches; with `replace`, remove those of earlier files.

    Returns the numbers of watches that were added, changed, removed and left unchanged. With `hold`, it waits while the
    database is away. Raises StoreUnavailable. The watches before are stored then; another call goes on with the rest.
    """
    counts = Counter(added=0, changed=0, removed=0, unchanged=0)
    kept: set[int] = set()
    for requests in config.requests():
        applied = await store.watches.apply(requests, origin="file", now=clock(), hold=hold)
        watcher.describe(applied.changed)
        kept.update(applied.keys)
        counts.update(added=len(applied.added), changed=len(applied.changed), unchanged=applied.unchanged)
    after: int | None = BEFORE_ALL if replace else None
    while after is not None:
        removed, after = await store.watches.remove_others(kept, origin="file", now=clock(), after=after, hold=hold)
        watcher.drop(removed)  # before the next await, in which one may be added again
        counts["removed"] += len(removed)
    watcher.wake()
    return counts
