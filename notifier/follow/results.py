"""The requests for the results of tasks that have succeeded: one at a time, each in its turn.

The completion goes out with the result, or without it and with the reason once the source's patience is over.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import structlog

from notifier.core.errors import SourceError, StaleWrite, Unavailable
from notifier.core.model import Observation
from notifier.core.pace import backoff
from notifier.follow.observer import Observer
from notifier.follow.subscription import Subscription, Success
from notifier.sources.poll import PollSource
from notifier.sources.sse import SseSource

log = structlog.get_logger(__name__)

PAUSE = 0.5  # seconds between two requests for a result, at first; it doubles
LONGEST_PAUSE = 10.0


class ResultFetcher:
    """Fetches the results of one source's tasks."""

    def __init__(self, *, observer: Observer) -> None:
        self._observer = observer

    async def fetch(self, subscription: Subscription, source: SseSource | PollSource) -> float | None:
        """Ask once for the result; return the seconds to the next request, or None if there is none.

        Like a connection, a boundary for one watch's faults. Raises StaleWrite.
        """
        success = subscription.success
        assert success is not None, "only a success has a result"
        try:
            observation = await self._observation(subscription, success, source)
            if not isinstance(observation, Observation):
                return observation
            if subscription.success is success and subscription.connected:
                await self._observer.settle(subscription, observation)
        except StaleWrite:
            raise
        except Exception:
            log.exception("watch.failed", source=subscription.watch.source, id=subscription.watch.id)
            return LONGEST_PAUSE
        return None

    async def _observation(
        self, subscription: Subscription, success: Success, source: SseSource | PollSource
    ) -> Observation | float:
        """Return the success with its result, or, when time is up, with the reason; before that, the pause to wait."""
        watch = subscription.watch
        try:
            return await source.result(watch.id, success.observation, variables=watch.variables)
        except SourceError as exc:
            error = exc
        except Exception:
            log.exception("watch.failed", source=watch.source, id=watch.id)
            error = Unavailable("an internal error; see the log")
        tries = success.tries + 1
        pause = backoff(tries, initial=PAUSE, ceiling=LONGEST_PAUSE, jitter=1.0)
        if isinstance(error, Unavailable) and error.retry_after is not None:
            pause = max(pause, error.retry_after)
        if asyncio.get_running_loop().time() + pause >= success.until:
            return replace(success.observation, urls=(), result_error=str(error))
        if subscription.success is success:
            subscription.success = replace(success, tries=tries)
        return pause
