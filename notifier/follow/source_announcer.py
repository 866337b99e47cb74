"""Tells operators when a source fails as a whole, and when it answers again: `source.failing`, `source.recovered`.

Each node tells of its own tries. A source whose upstream knows a task no longer has answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from notifier.core.errors import StoreUnavailable
from notifier.core.model import Event, EventType, Json, Micros
from notifier.follow.recorder import Recorder
from notifier.follow.troubles import Troubles

log = structlog.get_logger(__name__)


class SourceAnnouncer:
    """Announces the failure of one source once, and its recovery."""

    def __init__(
        self,
        source: str,
        *,
        troubles: Troubles,
        recorder: Recorder,
        clock: Callable[[], Micros],
    ) -> None:
        self._source = source
        self._troubles = troubles
        self._recorder = recorder
        self._clock = clock
        self._failing_since: float | None = None  # of the failure that was announced
        self._busy = False  # an announcement is being saved

    def look(self, after: float, tasks: asyncio.TaskGroup) -> None:
        """Announce a change, in a task; `after` so many seconds of failed tries the source counts as failing."""
        since, fault, now = self._troubles.failing_since, self._troubles.fault, self._troubles.now()
        if self._busy:
            return
        if self._failing_since is None and since is not None and fault is not None and now - since >= after:
            extra = {"reason": fault.kind, "detail": str(fault), "failing_seconds": round(now - since, 3)}
            self._begin(EventType.SOURCE_FAILING, extra, since, tasks)
        elif self._failing_since is not None and since is None:
            extra = {"reason": "answers again", "failed_seconds": round(now - self._failing_since, 3)}
            self._begin(EventType.SOURCE_RECOVERED, extra, None, tasks)

    def _begin(
        self, event_type: EventType, extra: Mapping[str, Json], since: float | None, tasks: asyncio.TaskGroup
    ) -> None:
        self._busy = True
        event = Event(type=event_type, at=self._clock(), extra={"source": self._source, **extra})
        tasks.create_task(self._announce(event, since), name=f"announce {event_type} {self._source}")

    async def _announce(self, event: Event, since: float | None) -> None:
        try:
            await self._recorder.announce(event)
            self._failing_since = since
        except StoreUnavailable:  # the store has logged it; the next look tries again
            return
        except Exception:
            log.exception("source.not_announced", source=self._source, hint="please report this")
            self._failing_since = since
        finally:
            self._busy = False
