"""The subscriptions of one source: who may connect when, what follows a connection that ended, and when time is up.

A step that is being saved is never cancelled: what is committed has to be handed on (see Recorder.record). A watch that
is dropped meanwhile lets go of its connection right after.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice

import structlog

from notifier.core import machine, reconnect
from notifier.core.errors import StaleWrite
from notifier.core.machine import Step
from notifier.core.model import LostReason, Micros, Watch
from notifier.core.reconnect import WELL, GiveUp, ReconnectPolicy, Wait
from notifier.follow.admission import Admission, Slots
from notifier.follow.connection import Connecting
from notifier.follow.recorder import Recorder
from notifier.follow.source import Source
from notifier.follow.subscription import Ended, Subscription
from notifier.runtime.metrics import Metrics

log = structlog.get_logger(__name__)

SWEEP = (0.05, 1.0)  # seconds between looks at the clocks, least and most


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPolicy:
    """A source's limits; times in seconds. The defaults are the configuration's."""

    reconnect: ReconnectPolicy
    max_streams: int
    connect_rate: float  # a second
    idle_timeout: float  # without a byte
    deadline: float  # of a whole watch
    stall_after: float | None  # without a change


class Feed:
    """Follows the watches of one source."""

    def __init__(
        self,
        *,
        source: Source,
        policy: FeedPolicy,
        recorder: Recorder,
        metrics: Metrics,
        slots: Slots,
        clock: Callable[[], Micros],
        lost_hold: Callable[[Watch], None],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.source = source
        self._policy = policy
        self._recorder = recorder
        self._clock = clock
        self._jitter = jitter
        self._lost_hold = lost_hold
        self._all: dict[int, Subscription] = {}
        self._admission: Admission[Subscription] = Admission(
            slots=slots, limit=policy.max_streams, rate=policy.connect_rate
        )
        self._connecting = Connecting(
            source=source, recorder=recorder, metrics=metrics, clock=clock, idle_timeout=policy.idle_timeout
        )
        self._stopped = False
        self._tasks: asyncio.TaskGroup | None = None

    # -- what others ask of it

    def __len__(self) -> int:
        return len(self._all)

    @property
    def open(self) -> int:
        """Return how many connections are open or being opened."""
        return self._admission.open

    def watches(self) -> list[Watch]:
        """Return what is followed."""
        return [subscription.watch for subscription in self._all.values() if not subscription.watch.ended]

    def some(self, count: int, *, connected: bool) -> list[Watch]:
        """Return up to `count` of what is followed, with a connection or without."""
        found = (
            subscription.watch
            for subscription in self._all.values()
            if not subscription.watch.ended and (subscription.task is not None) is connected
        )
        return list(islice(found, max(0, count)))

    def subscription(self, pk: int) -> Subscription | None:
        """Return what is remembered of a watch's connections."""
        return self._all.get(pk)

    def add(self, watch: Watch) -> None:
        """Follow a watch; one of the same number is replaced."""
        self.drop(watch.pk)
        subscription = self._all[watch.pk] = Subscription(watch)
        self._admission.now(subscription)

    def drop(self, pk: int) -> None:
        """Stop following a watch."""
        subscription = self._all.pop(pk, None)
        if subscription is not None:
            subscription.dropped = True
            if subscription.task is not None and not subscription.saving:
                subscription.task.cancel()

    def describe(self, watch: Watch) -> None:
        """Take over labels, metadata, endpoints and callback; the connection stays."""
        subscription = self._all.get(watch.pk)
        if subscription is not None:
            subscription.describe(watch)

    def update(self, policy: FeedPolicy, *, reopen: bool, hurry: bool) -> None:
        """Take a new policy. `reopen`: connect every stream anew. `hurry`: let nothing wait for its backoff."""
        self._policy = policy
        self._connecting.idle_timeout = policy.idle_timeout
        self._admission.update(limit=policy.max_streams, rate=policy.connect_rate)
        if not (reopen or hurry):
            return
        for subscription in self._all.values():
            subscription.health = WELL
            subscription.hurry = True
            if reopen:
                subscription.reopen = True
                subscription.interrupt()
        self._admission.hurry()

    def stop(self) -> None:
        """Follow nothing more; `run` returns once the steps that are being saved are safe."""
        self._stopped = True
        for pk in list(self._all):
            self.drop(pk)
        self._admission.wake.set()

    async def run(self) -> None:
        """Follow until stopped or cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                sweep = tasks.create_task(self._sweep(), name=f"sweep {self.source.name}")
                await self._admit(tasks)
                sweep.cancel()
        finally:
            self._admission.close()
            self._tasks = None

    async def _admit(self, tasks: asyncio.TaskGroup) -> None:
        loop, wake = asyncio.get_running_loop(), self._admission.wake
        while not self._stopped:
            wake.clear()
            while isinstance(turn := self._admission.next(loop.time()), Subscription):
                turn.reopen = turn.hurry = turn.interrupted = False
                turn.task = tasks.create_task(self._session(turn), name=f"watch {self.source.name}/{turn.watch.id}")
                turn.task.add_done_callback(partial(self._release, turn))  # it may be cancelled before it begins
            try:
                async with asyncio.timeout(turn):
                    await wake.wait()
            except TimeoutError:
                continue

    # -- one connection

    async def _session(self, subscription: Subscription) -> None:
        try:
            ended = await self._connecting.follow(subscription)
        except StaleWrite:
            self._let_go(subscription)
            return
        finally:
            self._release(subscription, asyncio.current_task())
        if subscription.gone:
            return
        if subscription.watch.ended:
            self._forget(subscription)
            return
        await self._after(subscription, ended)

    def _release(self, subscription: Subscription, task: asyncio.Task[None] | None) -> None:
        if subscription.task is task:
            subscription.task = None
            subscription.stream = None
            self._admission.ended()

    # -- what follows

    async def _after(self, subscription: Subscription, ended: Ended) -> None:
        if subscription.reopen or (subscription.hurry and ended.error is not None and not ended.observed):
            self._admission.now(subscription)  # what it met was the old configuration's
            return
        decision = reconnect.after(
            ended.error,
            subscription.health,
            self._policy.reconnect,
            observed=ended.observed,
            hint=ended.hint,
            now=self._clock(),
            jitter=self._jitter(),
        )
        if isinstance(decision, GiveUp):
            await self._conclude(subscription, decision.reason, decision.detail)
            if subscription.dropped:
                return
            decision = Wait(delay=self._policy.reconnect.backoff_max, health=subscription.health)
        subscription.health = decision.health
        log.debug(
            "watch.reconnecting",
            source=self.source.name,
            id=subscription.watch.id,
            delay=round(decision.delay, 3),
            failures=decision.health.failures,
            error=str(ended.error) if ended.error else None,
        )
        self._admission.later(subscription, asyncio.get_running_loop().time() + decision.delay)

    async def _conclude(self, subscription: Subscription, reason: LostReason, detail: str) -> None:
        """Give a watch up."""
        subscription.closing = True
        if await self._remark(subscription, lambda watch, now: machine.give_up(watch, reason, detail, now)):
            log.warning(
                "watch.lost", source=self.source.name, id=subscription.watch.id, reason=reason.value, detail=detail
            )
        if subscription.watch.ended:
            self._forget(subscription)
        subscription.closing = False  # where it failed, whoever asked asks again

    async def _stall(self, subscription: Subscription) -> None:
        def step(watch: Watch, now: Micros) -> Step:
            return machine.stall(watch, (now - watch.changed_at) / 1e6, now)

        await self._remark(subscription, step)

    async def _remark(self, subscription: Subscription, step: Callable[[Watch, Micros], Step]) -> bool:
        """Take a step that no observation asked for, and say whether it was one.

        Like a connection, a boundary for one watch's faults.
        """
        async with subscription.lock:
            if subscription.dropped:
                return False
            taken = step(subscription.watch, self._clock())
            try:
                await self._recorder.record(taken)
                subscription.moved(taken.watch)
            except StaleWrite:
                self._let_go(subscription)
            except Exception:
                log.exception("watch.failed", source=self.source.name, id=subscription.watch.id)
            else:
                return bool(taken.events)
        return False

    def _let_go(self, subscription: Subscription) -> None:
        """Hear that the watch is no longer as we know it; one that was dropped is somebody else's business."""
        if not subscription.dropped:
            self._forget(subscription)
            self._lost_hold(subscription.watch)

    def _forget(self, subscription: Subscription) -> None:
        subscription.dropped = True
        if self._all.get(subscription.watch.pk) is subscription:
            del self._all[subscription.watch.pk]
        if subscription.task is not None and subscription.task is not asyncio.current_task():
            subscription.task.cancel()

    # -- the clocks: idle, stalled, past the deadline

    async def _sweep(self) -> None:
        assert self._tasks is not None
        while True:
            policy = self._policy
            spans = [span for span in (policy.idle_timeout, policy.deadline, policy.stall_after) if span is not None]
            await asyncio.sleep(min(max(min(spans) / 4, SWEEP[0]), SWEEP[1]))
            now, tick = self._clock(), asyncio.get_running_loop().time()
            for subscription in list(self._all.values()):
                self._look(subscription, now, tick, self._tasks)

    def _look(self, subscription: Subscription, now: Micros, tick: float, tasks: asyncio.TaskGroup) -> None:
        if subscription.closing or subscription.lock.locked():
            return
        policy, watch = self._policy, subscription.watch
        if now - watch.created_at >= policy.deadline * 1e6:
            subscription.closing = True
            detail = f"no terminal state within {policy.deadline:g} s"
            tasks.create_task(
                self._conclude(subscription, LostReason.DEADLINE, detail), name=f"deadline {watch.source}/{watch.id}"
            )
            return
        if policy.stall_after is not None and not watch.stalled and now - watch.changed_at >= policy.stall_after * 1e6:
            tasks.create_task(self._stall(subscription), name=f"stall {watch.source}/{watch.id}")
        if subscription.stream is not None and tick - subscription.stream.last_activity >= policy.idle_timeout:
            subscription.interrupt()
