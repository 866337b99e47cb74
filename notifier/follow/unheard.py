"""The watches of one source whose events nobody receives: they are counted, and the first one is logged."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from notifier.core.model import Watch
from notifier.follow.recorder import Recorder

log = structlog.get_logger(__name__)

HINT = "no endpoint's `match` accepts it: name one by the watch's `endpoints`, or change its labels or the `match`"


class Unheard:
    """Remembers which watches have no receiver, by the endpoints that are in force."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._routes = recorder.routes  # by which they were found
        self._watches: set[int] = set()  # by pk

    def __len__(self) -> int:
        return len(self._watches)

    def note(self, watch: Watch) -> None:
        """Note whether anybody receives the events of a watch."""
        if self._recorder.is_heard(watch):
            self._watches.discard(watch.pk)
            return
        if not self._watches:
            log.warning("watch.unheard", source=watch.source, id=watch.id, hint=HINT)
        self._watches.add(watch.pk)

    def forget(self, pk: int) -> None:
        """Count a watch no longer that is followed no longer."""
        self._watches.discard(pk)

    def look(self, watches: Iterable[Watch]) -> None:
        """Note all watches again if a reload has changed the endpoints."""
        if self._routes is not self._recorder.routes:
            self._routes = self._recorder.routes
            self._watches.clear()
            for watch in watches:
                self.note(watch)
