"""The subscriptions of one source: who connects when, what follows a connection that ended, and when time is up.

A step that is being saved is never cancelled, since committed deliveries have to be handed on (see Recorder.record). A
watch that is dropped meanwhile closes its connection right after.

The deadline alone ends no watch: the task may have ended while nobody looked. A watch past its deadline gets one more
connection, and is lost once the upstream has told its present state, or could not be asked for a while.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any

import structlog

from notifier.core import machine, reconnect
from notifier.core.errors import StaleWrite, TaskNotFound, Unavailable
from notifier.core.machine import Step
from notifier.core.model import LostReason, Micros, Watch
from notifier.core.reconnect import WELL, Ending, GiveUp, Wait
from notifier.core.trace import trace_id
from notifier.follow.admission import Admission, Slots
from notifier.follow.connection import Connector
from notifier.follow.policy import FeedPolicy
from notifier.follow.polling import Poller
from notifier.follow.recorder import Recorder
from notifier.follow.source_announcer import SourceAnnouncer
from notifier.follow.subscription import Renewal, Stage, StageSignal, Subscription
from notifier.follow.troubles import Trouble, Troubles
from notifier.follow.unheard import Unheard
from notifier.follow.unsure import Unsure
from notifier.runtime.clock import Clock
from notifier.runtime.metrics import Metrics
from notifier.sources.poll import PollSource
from notifier.sources.sse import SseSource, SseStream

log = structlog.get_logger(__name__)

Source = SseSource | PollSource

STEADY = 60.0  # seconds for which a stream has to stay open to prove that its troubles are over
PRESENT_QUIET = 1.0  # seconds without a byte after which a stream that was opened anew has told its present state
PRESENT_LONGEST = 10.0  # seconds after which it has, though it never paused, or said nothing at all


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
        clock: Clock,
        unsure: Unsure,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.source = source
        self._policy = policy
        self._recorder = recorder
        self._clock = clock
        self._jitter = jitter
        self._unsure = unsure
        self._all: dict[int, Subscription] = {}
        self._admission = Admission(
            slots=slots, limit=policy.max_streams, rate=policy.connect_rate, even=policy.poll is not None
        )
        self._troubles = Troubles(source.name, now=time.monotonic)
        self._announcer = SourceAnnouncer(source.name, troubles=self._troubles, recorder=recorder, clock=clock)
        about: Any = {"recorder": recorder, "metrics": metrics, "troubles": self._troubles, "clock": clock}
        self._connector = (
            Poller(source=source, admission=self._admission, **about)
            if isinstance(source, PollSource)
            else Connector(source=source, **about)
        )
        self._unheard = Unheard(recorder)
        self._stopped = False
        self._tasks: asyncio.TaskGroup | None = None

    # -- what others ask of it

    def __len__(self) -> int:
        return len(self._all)

    @property
    def open(self) -> int:
        """Return how many streams are open or being opened; a poll is none."""
        return self._admission.open if self._policy.poll is None else 0

    @property
    def max_streams(self) -> int:
        """Return how many connections may be open at a time."""
        return self._admission.limit

    @property
    def connect_rate(self) -> float:
        """Return how many watches may connect a second."""
        return self._policy.connect_rate

    @property
    def waiting(self) -> int:
        """Return how many watches could connect now, but wait for a free stream or for their turn."""
        return self._admission.waiting

    @property
    def troubles(self) -> Mapping[str, int]:
        """Return the number of watches in trouble, by kind: refused, unreadable, unavailable."""
        return self._troubles.counts

    @property
    def trouble_words(self) -> Mapping[str, Trouble]:
        """Return the same kinds of trouble in words."""
        return self._troubles.words

    @property
    def unheard(self) -> int:
        """Return the number of watches whose events nobody receives."""
        return len(self._unheard)

    def watches(self) -> list[Watch]:
        """Return the watches that are followed."""
        return [subscription.watch for subscription in self._all.values() if not subscription.watch.ended]

    def some(self, count: int, *, connected: bool) -> list[Watch]:
        """Return up to `count` watches that are followed, with a connection or without."""
        matching = (
            subscription.watch
            for subscription in self._all.values()
            if not subscription.watch.ended and (subscription.task is not None) is connected
        )
        return list(islice(matching, max(0, count)))

    def subscription(self, pk: int) -> Subscription | None:
        """Return the subscription of a watch."""
        return self._all.get(pk)

    def add(self, watch: Watch) -> None:
        """Follow a watch; one of the same number is replaced."""
        self.drop(watch.pk)
        subscription = self._all[watch.pk] = Subscription(watch)
        if self._is_overdue(watch, self._clock()):
            subscription.overdue = asyncio.get_running_loop().time()
        self._unheard.note(watch)
        self._admission.now(subscription)

    def drop(self, pk: int) -> None:
        """Stop following a watch."""
        subscription = self._all.pop(pk, None)
        if subscription is not None:
            subscription.drop()
            self._troubles.forget(pk)
            self._unheard.forget(pk)

    def describe(self, watch: Watch) -> None:
        """Take over labels, metadata, endpoints and callback; the connection stays, unless the variables changed."""
        subscription = self._all.get(watch.pk)
        if subscription is None:
            return
        elsewhere = subscription.watch.variables != watch.variables
        subscription.describe(watch)
        self._unheard.note(watch)
        if elsewhere:
            self._reopen(subscription)
            if subscription.stage is Stage.WAITING:
                self._admission.now(subscription)

    def update(self, policy: FeedPolicy, *, reopen: bool, hurry: bool) -> None:
        """Take a new policy. `reopen`: connect every stream anew. `hurry`: let nothing wait for its backoff."""
        self._policy = policy
        self._admission.update(limit=policy.max_streams, rate=policy.connect_rate)
        if not (reopen or hurry):
            return
        for subscription in self._all.values():
            subscription.health = WELL
            if reopen:
                self._reopen(subscription)
            elif subscription.renewal is Renewal.NONE:
                subscription.renewal = Renewal.IF_REFUSED
        self._admission.hurry()

    def _reopen(self, subscription: Subscription) -> None:
        """Connect anew: it may be another upstream, or other states of the same."""
        subscription.health = WELL
        subscription.last_event_id = ""
        subscription.renewal = Renewal.NOW
        subscription.interrupt()

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
                turn.begin()
                turn.task = tasks.create_task(self._session(turn), name=f"watch {self.source.name}/{turn.watch.id}")
                turn.task.add_done_callback(partial(self._release, turn))  # it may be cancelled before it begins
            await wake.wait(turn)

    # -- one connection

    async def _session(self, subscription: Subscription) -> None:
        if subscription.watch.traceparent is not None:  # for the log; the task is this session's own
            structlog.contextvars.bind_contextvars(trace_id=trace_id(subscription.watch.traceparent))
        try:
            ending = await self._connector.follow(subscription)
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
        await self._after(subscription, ending)

    def _release(self, subscription: Subscription, task: asyncio.Task[None] | None) -> None:
        if subscription.task is task:
            subscription.task = None
            subscription.stream = None
            subscription.signal(StageSignal.END)
            self._admission.ended()

    # -- what follows

    async def _after(self, subscription: Subscription, ending: Ending) -> None:
        refused = ending.error is not None and not ending.observed
        if subscription.renewal is Renewal.NOW or (subscription.renewal is Renewal.IF_REFUSED and refused):
            self._admission.now(subscription)  # this connection was the old configuration's
            return
        now = asyncio.get_running_loop().time()
        policy, poll, health = self._policy.reconnect, self._policy.poll, subscription.health
        steady, jitter = self._clock.steady(), self._jitter()
        if poll is None:
            decision = reconnect.after(ending, health, policy, now=steady, jitter=jitter)
        else:
            decision = reconnect.after_poll(ending, health, policy, pause=poll.pause, now=steady, jitter=jitter)
        self._note(subscription, ending)
        if subscription.overdue is not None:
            decision = self._overdue(subscription, ending, decision, now)
        if isinstance(decision, GiveUp):
            await self._conclude(subscription, decision.reason, decision.detail)
            if subscription.gone:
                return
            decision = Wait(delay=self._policy.reconnect.backoff_max, health=subscription.health)
        subscription.health = decision.health
        log.debug(
            "watch.reconnecting",
            source=self.source.name,
            id=subscription.watch.id,
            delay=round(decision.delay, 3),
            failures=decision.health.failures,
            error=str(ending.error) if ending.error else None,
        )
        self._admission.later(subscription, asyncio.get_running_loop().time() + decision.delay)

    def _note(self, subscription: Subscription, ending: Ending) -> None:
        """Record whether the connection that ended was a trouble of the source, or proved that it is well."""
        pk, error = subscription.watch.pk, ending.error or ending.unread
        answered = error is None or ending.observed or isinstance(error, TaskNotFound)
        self._troubles.tried(None if answered else error)
        lasting = ending.news or ending.lasted >= self._policy.reconnect.backoff_max
        if error is None:
            if ending.observed:
                self._troubles.end(pk, proven=True)
        elif not ending.opened or error.kind == "unreadable" or (subscription.health.attempts and not lasting):
            self._troubles.begin(pk, error, observed=ending.observed)  # any stream may break once

    def _overdue(
        self, subscription: Subscription, ending: Ending, decision: Wait | GiveUp, now: float
    ) -> Wait | GiveUp:
        """Return what follows a connection that ended after the deadline."""
        if subscription.asked is None:
            subscription.asked = now
        answered = not isinstance(ending.error, Unavailable | None) or (
            ending.observed and subscription.overdue is not None and subscription.opened >= subscription.overdue
        )
        return reconnect.after_deadline(
            decision,
            self._policy.reconnect,
            deadline=self._policy.deadline,
            looked=subscription.looked or answered,
            asking=now - subscription.asked,
        )

    async def _conclude(self, subscription: Subscription, reason: LostReason, detail: str) -> None:
        """Give a watch up; it goes on if that could not be saved."""
        subscription.signal(StageSignal.CLOSE)
        if await self._remark(subscription, lambda watch, now: machine.give_up(watch, reason, detail, now)):
            log.warning(
                "watch.lost", source=self.source.name, id=subscription.watch.id, reason=reason.value, detail=detail
            )
        if subscription.watch.ended:
            self._forget(subscription)
        subscription.signal(StageSignal.KEEP)

    async def _stall(self, subscription: Subscription) -> None:
        def step(watch: Watch, now: Micros) -> Step:
            return machine.stall(watch, self._clock.elapsed(watch.changed_at, now) / 1e6, now)

        await self._remark(subscription, step)

    async def _remark(self, subscription: Subscription, step: Callable[[Watch, Micros], Step]) -> bool:
        """Take a step that no observation asked for; return whether it made an event.

        Like a connection, a boundary for one watch's faults.
        """
        async with subscription.lock:
            if subscription.gone:
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
        """Follow a watch no longer that is not as we know it. A watch that was dropped is nobody's loss."""
        if not subscription.gone:
            self._forget(subscription)
            self._unsure.add([subscription.watch])

    def _forget(self, subscription: Subscription) -> None:
        if self._all.get(subscription.watch.pk) is subscription:
            del self._all[subscription.watch.pk]
            self._troubles.forget(subscription.watch.pk)
            self._unheard.forget(subscription.watch.pk)
        subscription.drop()

    # -- the clocks: idle, stalled, past the deadline

    async def _sweep(self) -> None:
        assert self._tasks is not None
        while True:
            await asyncio.sleep(self._policy.sweep)
            self._unheard.look(subscription.watch for subscription in self._all.values())
            now, tick = self._clock(), asyncio.get_running_loop().time()
            for subscription in list(self._all.values()):
                self._look(subscription, now, tick, self._tasks)
            self._announcer.look(self._policy.failing_after if self._all else math.inf, self._tasks)

    def _look(self, subscription: Subscription, now: Micros, tick: float, tasks: asyncio.TaskGroup) -> None:
        if subscription.stage is Stage.CLOSING or subscription.lock.locked():
            return
        policy, watch = self._policy, subscription.watch
        if self._is_overdue(watch, now):
            self._look_once_more(subscription, tick)
        else:
            subscription.overdue = subscription.asked = None  # a reload may have moved the deadline
            subscription.looked = False
        if policy.stall_after is not None and self._is_stalled(watch, now, policy.stall_after):
            tasks.create_task(self._stall(subscription), name=f"stall {watch.source}/{watch.id}")
        if subscription.stream is not None:
            self._look_at_stream(subscription, subscription.stream, tick)

    def _look_at_stream(self, subscription: Subscription, stream: SseStream, tick: float) -> None:
        idle_timeout, pk = self._policy.idle_timeout, subscription.watch.pk
        if tick - stream.last_activity >= idle_timeout:
            subscription.interrupt(Unavailable(f"no bytes for {idle_timeout:g} s"))
        elif stream.unread is not None:
            self._troubles.begin(pk, stream.unread, observed=stream.observations > 0)
        elif self._troubles.any and tick - subscription.opened >= STEADY:
            self._troubles.end(pk, proven=True)

    def _is_stalled(self, watch: Watch, now: Micros, after: float) -> bool:
        return not watch.stalled and self._clock.elapsed(watch.changed_at, now) >= after * 1e6

    def _is_overdue(self, watch: Watch, now: Micros) -> bool:
        return self._clock.elapsed(watch.created_at, now) >= self._policy.deadline * 1e6

    def _look_once_more(self, subscription: Subscription, tick: float) -> None:
        """See to it that a watch past its deadline gets one more complete look at the upstream.

        A watch without a connection gets its turn at once. An open stream is replaced at the next sweep, so that what
        it has received by now is read first.
        """
        if subscription.overdue is None:
            subscription.overdue = tick
            if subscription.stage is Stage.WAITING:
                self._admission.first(subscription)
            return
        stream = subscription.stream
        if stream is None or subscription.looked:
            return
        if subscription.opened < subscription.overdue:
            subscription.renewal = Renewal.NOW
            subscription.interrupt()
            return
        quiet = stream.observations > 0 and tick - stream.last_activity >= PRESENT_QUIET
        if quiet or tick - subscription.opened >= PRESENT_LONGEST:
            subscription.looked = True
            subscription.interrupt()
