"""The polls of one source: each asks once for one task, and its observation is recorded.

The feed decides when a task is asked for, and what follows a poll (`feed.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from notifier.core.errors import SourceError, StaleWrite, Unavailable
from notifier.core.model import Micros, Observation
from notifier.core.reconnect import Ending
from notifier.follow.admission import Admission
from notifier.follow.connection import observe
from notifier.follow.recorder import Recorder
from notifier.follow.subscription import Subscription
from notifier.follow.troubles import Troubles
from notifier.runtime.metrics import Metrics
from notifier.sources.poll import PollSource

log = structlog.get_logger(__name__)

TOO_MANY = 429
LONGEST_HOLD = 60.0  # seconds for which one reply can hold back the polls of all tasks


class Poller:
    """Polls the tasks of subscriptions."""

    def __init__(
        self,
        *,
        source: PollSource,
        recorder: Recorder,
        metrics: Metrics,
        troubles: Troubles,
        clock: Callable[[], Micros],
        admission: Admission,
    ) -> None:
        self._source = source
        self._recorder = recorder
        self._metrics = metrics
        self._troubles = troubles
        self._clock = clock
        self._admission = admission
        self._limited: int | None = None  # the watch whose poll was the last one, if the upstream said "too many"

    async def follow(self, subscription: Subscription) -> Ending:
        """Ask once, and return how that ended.

        This is the boundary that keeps one watch's fault from the others. Raises StaleWrite when the watch is no longer
        as we know it.
        """
        loop = asyncio.get_running_loop()
        begun = subscription.opened = loop.time()
        sequence = subscription.watch.sequence
        try:
            observation = await self._look(subscription)
            observed = subscription.reads  # not if the source was changed meanwhile: the answer may be another's
            if observed:
                await observe(
                    subscription, observation, recorder=self._recorder, troubles=self._troubles, clock=self._clock
                )
        except SourceError as exc:
            return Ending(error=exc)
        except StaleWrite:
            raise
        except Exception:
            log.exception("watch.failed", source=self._source.name, id=subscription.watch.id)
            return Ending(error=Unavailable("an internal error; see the log"), opened=True)
        return Ending(
            opened=True,
            observed=observed,
            news=subscription.watch.sequence > sequence,
            lasted=loop.time() - begun,
        )

    async def _look(self, subscription: Subscription) -> Observation:
        outcome = SourceError.kind
        try:
            observation = await self._source.look(subscription.watch.id, variables=subscription.watch.variables)
            outcome, self._limited = "answered", None
            return observation
        except SourceError as exc:
            outcome = exc.kind
            self._slow_down(subscription.watch.pk, exc)
            raise
        finally:
            self._metrics.polls.labels(self._source.name, outcome).inc()

    def _slow_down(self, pk: int, error: SourceError) -> None:
        """Hold back all polls where the upstream answers two tasks in a row that there are too many requests."""
        if not isinstance(error, Unavailable) or error.status != TOO_MANY:
            return
        before, self._limited = self._limited, pk
        if before is not None and before != pk and error.retry_after is not None:
            self._admission.hold(asyncio.get_running_loop().time() + min(error.retry_after, LONGEST_HOLD))
