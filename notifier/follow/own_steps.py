"""The steps that no observation causes: a watch has stalled, or is given up.

Each is saved in a task of its own: others of the same request, or of the same sweep, need not wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from notifier.core import machine
from notifier.core.errors import StaleWrite
from notifier.core.machine import Step
from notifier.core.model import Micros, Watch
from notifier.core.reconnect import GiveUp
from notifier.follow.admission import Admissions
from notifier.follow.followed import Followed
from notifier.follow.recorder import Recorder
from notifier.follow.subscription import StageSignal, Subscription
from notifier.runtime.clock import Clock

log = structlog.get_logger(__name__)


class OwnSteps:
    """Takes the steps that no observation causes, for the watches of one source, and saves them."""

    def __init__(self, *, recorder: Recorder, followed: Followed, admissions: Admissions, clock: Clock) -> None:
        self._recorder = recorder
        self._followed = followed
        self._admissions = admissions
        self._clock = clock

    def stall(self, subscription: Subscription, tasks: asyncio.TaskGroup) -> None:
        """Tell that a watch has not changed for long."""
        watch = subscription.watch
        tasks.create_task(self._stall(subscription), name=f"stall {watch.source}/{watch.id}")

    def give_up(self, subscription: Subscription, why: GiveUp, tasks: asyncio.TaskGroup, *, retry: float) -> None:
        """Give a watch up; if that could not be saved it goes on, and connects after `retry` seconds."""
        subscription.signal(StageSignal.CLOSE)
        watch = subscription.watch
        tasks.create_task(self._give_up(subscription, why, retry), name=f"giving up {watch.source}/{watch.id}")

    async def _stall(self, subscription: Subscription) -> None:
        def step(watch: Watch, now: Micros) -> Step:
            return machine.stall(watch, self._clock.elapsed(watch.changed_at, now) / 1e6, now)

        await self._take(subscription, step)

    async def _give_up(self, subscription: Subscription, why: GiveUp, retry: float) -> None:
        if await self._take(subscription, lambda watch, now: machine.give_up(watch, why.reason, why.detail, now)):
            watch = subscription.watch
            log.warning("watch.lost", source=watch.source, id=watch.id, reason=why.reason.value, detail=why.detail)
        if subscription.watch.ended:
            self._followed.forget(subscription)
        subscription.signal(StageSignal.KEEP)
        if not subscription.gone:
            self._admissions.of(subscription).later(subscription, asyncio.get_running_loop().time() + retry)

    async def _take(self, subscription: Subscription, step: Callable[[Watch, Micros], Step]) -> bool:
        """Take a step, and save it; return whether it made an event.

        Like a connection, a boundary for one watch's faults.
        """
        async with subscription.lock:
            if subscription.gone:
                return False
            before = subscription.watch
            taken = step(before, self._clock())
            try:
                if taken.events:
                    await self._recorder.record(taken)
                subscription.moved(before, taken.watch)
            except StaleWrite:
                self._followed.let_go(subscription)
            except Exception:
                log.exception("watch.failed", source=subscription.watch.source, id=subscription.watch.id)
            else:
                return bool(taken.events)
        return False
