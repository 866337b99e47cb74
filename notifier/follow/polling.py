"""The polls of one source: each asks once, for one task or for several, and its observations are recorded.

The feed decides when a task is asked for, and what follows a poll (`feed.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from notifier.core.errors import SourceError, StaleWrite, Unavailable
from notifier.core.reconnect import Ending
from notifier.follow.admission import Admission
from notifier.follow.observer import Observer
from notifier.follow.subscription import Subscription
from notifier.runtime.counters import Counter
from notifier.runtime.metrics import Metrics
from notifier.sources.plan import Answer, Answers
from notifier.sources.poll import PollSource

log = structlog.get_logger(__name__)

TOO_MANY = 429
LONGEST_HOLD = 60.0  # seconds for which one reply can hold back the polls of all tasks


class Poller:
    """Polls the tasks of subscriptions."""

    def __init__(self, *, source: PollSource, observer: Observer, metrics: Metrics, admission: Admission) -> None:
        self.source = source
        self._observer = observer
        self._metrics = metrics
        self._admission = admission
        self._polls: dict[str, Counter] = {}  # of the metric, by outcome
        self._limited: int | None = None  # the watch whose poll was the last one, if the upstream said "too many"

    async def follow(self, subscription: Subscription) -> Ending:
        """Ask once, and return how that ended.

        This is the boundary that keeps one watch's fault from the others. Raises StaleWrite when the watch is no longer
        as we know it.
        """
        begun = subscription.opened = asyncio.get_running_loop().time()
        try:
            answer = await self._look(subscription)
        except SourceError as exc:
            return Ending(error=exc)
        except Exception:
            return self._failed(subscription)
        return await self._take(subscription, answer, begun)

    async def follow_all(self, subscriptions: Sequence[Subscription]) -> Sequence[Ending | None]:
        """Ask once for all, and return how that ended for each; None: the watch is no longer as we know it.

        They have the same variables.
        """
        begun = asyncio.get_running_loop().time()
        first, ids = subscriptions[0], [subscription.watch.id for subscription in subscriptions]
        outcome = SourceError.kind
        try:
            answers = await self.source.look_at(ids, variables=first.watch.variables)
            outcome, self._limited = "answered", None
        except SourceError as exc:
            outcome = exc.kind
            self._slow_down(first.watch.pk, exc)
            return [Ending(error=exc)] * len(subscriptions)
        except Exception:
            return [self._failed(subscription) for subscription in subscriptions]
        finally:
            self._count(outcome)
        # Changes are saved together: each waits for the commit of its group.
        return await asyncio.gather(*(self._one(each, answers, begun) for each in subscriptions))

    async def _one(self, subscription: Subscription, answers: Answers, begun: float) -> Ending | None:
        """Take one watch's part of an answer. A wait that the answer asks for counts for each."""
        subscription.opened = begun
        match answers.found.get(subscription.watch.id):
            case None:
                return Ending(unnamed=True, hint=answers.hint)
            case SourceError() as error:
                return Ending(error=error, hint=answers.hint)
            case observation:
                pass
        try:
            return await self._take(subscription, Answer(observation=observation, hint=answers.hint), begun)
        except StaleWrite:
            return None

    async def _take(self, subscription: Subscription, answer: Answer, begun: float) -> Ending:
        """Record what was answered; return how that ended. Raises StaleWrite."""
        sequence = subscription.watch.sequence
        observed = subscription.reads  # not if the source was changed meanwhile: the answer may be another's
        try:
            if observed and answer.observation is None:  # not modified
                self._observer.answered(subscription, proven=False)
            elif observed and answer.observation is not None:
                await self._observer.observe(subscription, answer.observation, self.source.settings)
                subscription.remember(etag=answer.etag)  # not before: what could not be saved has to come again
        except StaleWrite:
            raise
        except Exception:
            return self._failed(subscription)
        return Ending(
            opened=True,
            observed=observed,
            news=subscription.watch.sequence > sequence or subscription.success is not None,
            lasted=asyncio.get_running_loop().time() - begun,
            hint=answer.hint,
        )

    def _failed(self, subscription: Subscription) -> Ending:
        """Return the ending of a poll that a fault of ours broke. To be called while the fault is handled."""
        log.exception("watch.failed", source=self.source.name, id=subscription.watch.id)
        return Ending(error=Unavailable("an internal error; see the log"), opened=True)

    async def _look(self, subscription: Subscription) -> Answer:
        outcome, watch = SourceError.kind, subscription.watch
        etag = subscription.etag if subscription.overdue is None else ""  # the last look asks for everything
        try:
            answer = await self.source.look(watch.id, variables=watch.variables, etag=etag)
            outcome, self._limited = "answered", None
            return answer
        except SourceError as exc:
            outcome = exc.kind
            self._slow_down(watch.pk, exc)
            raise
        finally:
            self._count(outcome)

    def _count(self, outcome: str) -> None:
        counter = self._polls.get(outcome)
        if counter is None:
            counter = self._polls[outcome] = self._metrics.polls.labels(self.source.name, outcome)
        counter.value += 1

    def _slow_down(self, pk: int, error: SourceError) -> None:
        """Hold back all polls after the upstream has refused two tasks in a row for too many requests."""
        if not isinstance(error, Unavailable) or error.status != TOO_MANY:
            return
        before, self._limited = self._limited, pk
        if before is not None and before != pk and error.retry_after is not None:
            self._admission.hold(asyncio.get_running_loop().time() + min(error.retry_after, LONGEST_HOLD))
