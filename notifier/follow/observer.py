"""From an observation to a saved step; a success whose result takes a request is kept until that was made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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

    async def observe(self, subscription: Subscription, observation: Observation, settings: SourceSettings) -> None:
        """Take the step that an observation causes, and save it. Raises StaleWrite.

        A success whose result has to be fetched (`results.py`) waits for that instead.
        """
        if observation.phase is Phase.SUCCEEDED and settings.preset.result_request is not None:
            until = asyncio.get_running_loop().time() + settings.result_timeout
            subscription.success = Success(observation=observation, until=until)
            self.answered(subscription, proven=True)
            return
        await self.save(subscription, observation)

    async def save(self, subscription: Subscription, observation: Observation) -> None:
        """Take the step that an observation causes, and save it. Raises StaleWrite."""
        observation = await self._recorder.complete(subscription.watch, observation)
        async with subscription.lock:
            step = machine.step(subscription.watch, observation, self._clock())
            if step.events:
                subscription.signal(StageSignal.SAVE)
                try:
                    await self._recorder.record(step)
                    subscription.moved(step.watch)
                finally:
                    subscription.signal(StageSignal.SAVED)
        self.answered(subscription, proven=bool(step.events))

    def answered(self, subscription: Subscription, *, proven: bool) -> None:
        """Record that the upstream has told a task's state; `proven`: it was news."""
        self._troubles.tried(None)
        if self._troubles.any:
            self._troubles.end(subscription.watch.pk, proven=proven)
