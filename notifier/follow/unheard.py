"""The watches of one source whose events nobody receives: they are counted, and the first one is logged."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from notifier.core.model import Watch
from notifier.follow.recorder import Recorder
from notifier.follow.subscription import Subscription

log = structlog.get_logger(__name__)

SLICE = 200  # watches in a row, before others have their turn on the loop
HINT = "no endpoint's `match` accepts it: name one by the watch's `endpoints`, or change its labels or the `match`"
NAMED = (
    "its own `endpoints` name nobody who receives it: add one, or leave the key out for all whose `match` accepts it"
)


class Unheard:
    """Remembers which watches have no receiver, by the endpoints that are in force."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._routes = recorder.routes  # by which they were found
        self._watches: set[int] = set()  # by pk
        self._told = False  # one of them was logged, since the endpoints are in force

    def __len__(self) -> int:
        return len(self._watches)

    def note(self, watch: Watch) -> None:
        """Note whether anybody receives the events of a watch."""
        if self._recorder.is_heard(watch):
            self._watches.discard(watch.pk)
            return
        if not (self._told and self._watches):
            self._told = True
            hint = HINT if watch.endpoints is None else NAMED
            log.warning("watch.unheard", source=watch.source, id=watch.id, hint=hint)
        self._watches.add(watch.pk)

    def forget(self, pk: int) -> None:
        """Stop counting a watch that is no longer followed."""
        self._watches.discard(pk)

    async def look(self, followed: Mapping[int, Subscription]) -> None:
        """Note all watches again, in slices, if a reload has changed the endpoints; a second reload begins anew."""
        while self._routes is not self._recorder.routes:
            routes, self._told = self._recorder.routes, False
            self._routes = routes
            for at, (pk, subscription) in enumerate(list(followed.items()), 1):
                if followed.get(pk) is subscription:  # others are forgotten, or were noted by the new endpoints
                    self.note(subscription.watch)
                if at % SLICE == 0:
                    await asyncio.sleep(0)
                if routes is not self._recorder.routes:
                    break
