"""What follows a success whose results are fetched or archived, before it is saved.

A request for a result waits for its turn, as a poll does. The completion goes out with the result, or without it and
with the reason once the source's patience is over. Archiving may take minutes, so it holds no place among connections.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import structlog

from notifier.core.errors import SourceError, StaleWrite, Unavailable
from notifier.core.model import Observation
from notifier.core.pace import backoff
from notifier.follow.admission import Admissions
from notifier.follow.followed import Followed
from notifier.follow.observer import Observer
from notifier.follow.subscription import Renewal, StageSignal, Subscription, Success
from notifier.sources.poll import PollSource
from notifier.sources.sse import SseSource

log = structlog.get_logger(__name__)

PAUSE = 0.5  # seconds between two requests for a result, at first; it doubles
LONGEST_PAUSE = 10.0


class Results:
    """Completes the successes of one source."""

    def __init__(self, *, observer: Observer, followed: Followed, admissions: Admissions) -> None:
        self._observer = observer
        self._followed = followed
        self._admissions = admissions

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

    def wait(self, subscription: Subscription, pause: float | None) -> None:
        """Let a success wait for its turn to ask: after a pause in seconds, or, at first, before all polls."""
        if pause is None:
            self._admissions.requests.first(subscription)
        else:
            self._admissions.requests.later(subscription, asyncio.get_running_loop().time() + pause)

    def archive(self, subscription: Subscription, tasks: asyncio.TaskGroup, *, retry: float) -> None:
        """Archive and save a success in a task; if it could not be saved, ask the upstream again after `retry` s."""
        watch = subscription.watch
        task = tasks.create_task(self._archive(subscription, retry), name=f"results of {watch.source}/{watch.id}")
        subscription.begin(task)
        task.add_done_callback(partial(_rest, subscription))  # it may be cancelled before it begins

    async def _archive(self, subscription: Subscription, retry: float) -> None:
        """Like a connection, a boundary for one watch's faults."""
        try:
            await self._observer.finish(subscription)
        except StaleWrite:
            self._followed.let_go(subscription)
        except Exception:
            log.exception("watch.failed", source=subscription.watch.source, id=subscription.watch.id)
        finally:
            _rest(subscription, asyncio.current_task())
        if subscription.watch.ended:
            self._followed.forget(subscription)
        elif not subscription.gone:  # a fault of ours, or a new description
            delay = 0.0 if subscription.renewal is Renewal.NOW else retry
            subscription.forget_success()
            self._admissions.of(subscription).later(subscription, asyncio.get_running_loop().time() + delay)

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


def _rest(subscription: Subscription, task: asyncio.Task[None] | None) -> None:
    """Record that the task of a subscription is over."""
    if subscription.task is task:
        subscription.task = None
        subscription.signal(StageSignal.END)
