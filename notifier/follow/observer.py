"""From an observation to a saved step; a success whose result takes a request is kept until that was made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from notifier.core import machine
from notifier.core.model import Micros, Observation, Phase
from notifier.follow.recorder import Recorder
from notifier.follow.subscription import StageSignal, Subscription, Success
from notifier.follow.troubles import Troubles
from notifier.sources.plan import SourceSettings


class Observer:
    """Takes the observations of one source in."""

    def __init__(self, *, recorder: Recorder, troubles: Troubles, clock: Callable[[], Micros]) -> None:
        self._recorder = recorder
        self._troubles = troubles
        self._clock = clock

    def observe(
        self, subscription: Subscription, observation: Observation, settings: SourceSettings
    ) -> Coroutine[Any, Any, None]:
        """Take the step that an observation causes, and save it. Raises StaleWrite.

        A success whose result has to be fetched (`results.py`), or archived, waits for that instead.
        """
        if observation.phase is Phase.SUCCEEDED:
            asks = settings.preset.result_request is not None
            if asks or self._recorder.archives(observation):
                return self._postpone(subscription, observation, settings.result_timeout, fetched=not asks)
        return self.save(subscription, observation)

    async def _postpone(
        self, subscription: Subscription, observation: Observation, timeout: float, *, fetched: bool
    ) -> None:
        until = asyncio.get_running_loop().time() + timeout
        subscription.success = Success(observation=observation, until=until, fetched=fetched)
        self.answered(subscription, proven=True)

    async def settle(self, subscription: Subscription, observation: Observation) -> None:
        """Take in the success that no request can complete any more. Raises StaleWrite."""
        success = subscription.success
        if success is not None and self._recorder.archives(observation):
            subscription.success = replace(success, observation=observation, fetched=True)
        else:
            await self.save(subscription, observation)

    async def finish(self, subscription: Subscription) -> None:
        """Archive the results of a success, which may take minutes, and save it. Raises StaleWrite."""
        success = subscription.success
        assert success is not None, "there is a success"
        observation = await self._recorder.complete(subscription.watch, success.observation)
        if subscription.success is success and subscription.connected:
            await self.save(subscription, observation)

    async def save(self, subscription: Subscription, observation: Observation) -> None:
        """Take the step that an observation causes, and save it. Raises StaleWrite."""
        before = subscription.watch
        if (observation.state, observation.phase) == (before.state, before.phase) and not subscription.lock.locked():
            self.answered(subscription, proven=False)  # as most polls are: no step, no lock
            return
        async with subscription.lock:
            before = subscription.watch
            step = machine.step(before, observation, self._clock())
            if step.events:
                subscription.signal(StageSignal.SAVE)
                try:
                    await self._recorder.record(step)
                    subscription.moved(before, step.watch)
                finally:
                    subscription.signal(StageSignal.SAVED)
        self.answered(subscription, proven=bool(step.events))

    def answered(self, subscription: Subscription, *, proven: bool) -> None:
        """Record that the upstream has told a task's state; `proven`: it was news."""
        self._troubles.tried(None)
        if self._troubles.any:
            self._troubles.end(subscription.watch.pk, proven=proven)
