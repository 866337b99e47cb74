"""The subscriptions of one source: who connects when, what follows a connection that ended, and when time is up.

A step that is being saved is never cancelled, since committed deliveries have to be handed on (see Recorder.record). A
watch that is dropped meanwhile closes its connection right after.

When time is up, for a stream or a watch, is measured in `limits.py`.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice

import structlog

from notifier.core import machine, reconnect
from notifier.core.errors import NoStream, StaleWrite, TaskNotFound
from notifier.core.machine import Step
from notifier.core.model import LostReason, Micros, Watch
from notifier.core.reconnect import WELL, Ending, GiveUp
from notifier.core.trace import trace_id
from notifier.follow.admission import Admission, Slots
from notifier.follow.connection import Connector
from notifier.follow.limits import Due, Limits
from notifier.follow.observer import Observer
from notifier.follow.policy import FeedPolicy
from notifier.follow.polling import Poller
from notifier.follow.recorder import Recorder
from notifier.follow.results import ResultFetcher
from notifier.follow.source_announcer import SourceAnnouncer
from notifier.follow.subscription import Renewal, Stage, StageSignal, Subscription
from notifier.follow.troubles import Trouble, Troubles
from notifier.follow.unheard import Unheard
from notifier.follow.unsure import Unsure
from notifier.runtime.clock import Clock
from notifier.runtime.metrics import Metrics
from notifier.sources.poll import PollSource
from notifier.sources.sse import SseSource

log = structlog.get_logger(__name__)

Source = SseSource | PollSource

LOOKS = 100  # at watches in a row, before others have their turn on the loop
GATHER = 0.2  # of the shortest interval: a request for several tasks also asks for those that are due so soon


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
        self._recorder = recorder
        self._clock = clock
        self._jitter = jitter
        self._unsure = unsure
        self._all: dict[int, Subscription] = {}
        polled = source if isinstance(source, PollSource) else source.twin
        self._streams: Admission | None = None  # to those that want a stream; None: nobody does
        if isinstance(source, PollSource):
            self._requests: Admission = Admission(
                slots=slots, limit=policy.max_streams, rate=policy.connect_rate, even=True
            )
        else:
            self._streams = Admission(slots=slots, limit=policy.max_streams, rate=policy.connect_rate)
            self._requests = Admission(
                slots=slots, limit=policy.requests, rate=policy.request_rate, even=True, within=self._streams
            )
        self._troubles = Troubles(source.name, now=time.monotonic)
        self._limits = Limits(policy=policy, clock=clock, troubles=self._troubles)
        self._announcer = SourceAnnouncer(source.name, troubles=self._troubles, recorder=recorder, clock=clock)
        observer = self._observer = Observer(recorder=recorder, troubles=self._troubles, clock=clock)
        self._results = ResultFetcher(observer=observer)
        self._poller = (
            None
            if polled is None
            else Poller(source=polled, observer=observer, metrics=metrics, admission=self._requests)
        )
        self._connector = (
            None if isinstance(source, PollSource) else Connector(source=source, observer=observer, metrics=metrics)
        )
        self._polls_told = False  # that tasks without a stream are polled
        self._unheard = Unheard(recorder)
        self._stopped = False
        self._tasks: asyncio.TaskGroup | None = None

    # -- what others ask of it

    def __len__(self) -> int:
        return len(self._all)

    @property
    def open(self) -> int:
        """Return how many streams are open or being opened; a poll is none."""
        return 0 if self._streams is None else self._streams.open

    @property
    def max_streams(self) -> int:
        """Return how many connections may be open at a time."""
        return (self._streams or self._requests).limit

    @property
    def connect_rate(self) -> float:
        """Return how many watches may connect a second."""
        return self._limits.policy.connect_rate

    @property
    def waiting(self) -> int:
        """Return how many watches could connect now, but wait for a free stream or for their turn."""
        return sum(admission.waiting for admission in self._admissions)

    @property
    def troubles(self) -> Mapping[str, int]:
        """Return the number of watches in trouble, by kind: refused, unreadable, unavailable, no_content."""
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
        if self._limits.is_overdue(watch, self._clock()):
            subscription.overdue = asyncio.get_running_loop().time()
        self._unheard.note(watch)
        if self._limits.is_past_window(watch):
            subscription.last_event_id = ""
        self._admission(subscription).now(subscription)

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
            subscription.renew()
            self._hurry(subscription)

    def update(self, policy: FeedPolicy, *, reopen: bool, hurry: bool) -> None:
        """Take a new policy. `reopen`: connect every stream anew. `hurry`: let nothing wait for its backoff."""
        self._limits.policy = policy
        if self._streams is None:
            self._requests.update(limit=policy.max_streams, rate=policy.connect_rate)
        else:
            self._streams.update(limit=policy.max_streams, rate=policy.connect_rate)
            self._requests.update(limit=policy.requests, rate=policy.request_rate)
        for subscription in self._all.values():
            subscription.look_at = 0.0
        if not (reopen or hurry):
            return
        for subscription in self._all.values():
            subscription.health = WELL
            if reopen:
                subscription.renew()
            elif subscription.renewal is Renewal.NONE:
                subscription.renewal = Renewal.IF_REFUSED
            self._hurry(subscription)

    def _hurry(self, subscription: Subscription) -> None:
        """Let a subscription that waits have the next turn, at a stream if there may be one."""
        if subscription.stage is Stage.WAITING:
            subscription.polls = False
            self._admission(subscription).now(subscription)

    def stop(self) -> None:
        """Follow nothing more; `run` returns once the steps that are being saved are safe."""
        self._stopped = True
        for pk in list(self._all):
            self.drop(pk)
        for admission in self._admissions:
            admission.wake.set()

    async def run(self) -> None:
        """Follow until stopped or cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                sweep = tasks.create_task(self._sweep(), name=f"sweep {self.source.name}")
                name = self.source.name
                admitting = [
                    tasks.create_task(self._admit(admission, tasks), name=f"admission {number} of {name}")
                    for number, admission in enumerate(self._admissions)
                ]
                await asyncio.wait(admitting)
                sweep.cancel()
        finally:
            for admission in self._admissions:
                admission.close()
            self._tasks = None

    @property
    def _admissions(self) -> Sequence[Admission]:
        return (self._requests,) if self._streams is None else (self._streams, self._requests)

    def _admission(self, subscription: Subscription) -> Admission:
        """Return where a subscription waits for its turn: among those that want a stream, or a request."""
        if self._streams is None or subscription.polls or subscription.success is not None:
            return self._requests
        return self._streams

    async def _admit(self, admission: Admission, tasks: asyncio.TaskGroup) -> None:
        loop, wake = asyncio.get_running_loop(), admission.wake
        while not self._stopped:
            wake.clear()
            while isinstance(turn := admission.next(loop.time()), Subscription):
                turns = (turn, *self._along(turn, admission, loop.time()))
                task = tasks.create_task(
                    self._session(turns, admission), name=f"watch {self.source.name}/{turn.watch.id}"
                )
                for each in turns:
                    each.begin(task, shared=len(turns) > 1)
                task.add_done_callback(partial(self._release, turns, admission))  # it may be cancelled before it begins
            await wake.wait(turn)

    def _along(self, turn: Subscription, admission: Admission, now: float) -> Sequence[Subscription]:
        """Return the subscriptions that the request of a turn asks for as well."""
        batch = 1 if self._poller is None or admission is self._streams else self._poller.source.batch
        if batch == 1 or turn.success is not None:
            return ()
        ahead = GATHER * self._limits.policy.poll.interval if self._limits.policy.poll is not None else 0.0
        variables = turn.watch.variables
        return admission.along(
            batch - 1, lambda each: each.success is None and each.watch.variables == variables, now + ahead
        )

    # -- one connection

    async def _session(self, turns: Sequence[Subscription], admission: Admission) -> None:
        """Use one connection; it is one subscription's, unless it polls for several."""
        first = turns[0]
        endings: Sequence[Ending | None]
        pause: float | None = None  # to the next request for a result; None: none was made
        if len(turns) == 1 and first.watch.traceparent is not None:  # for the log; the task is this session's own
            structlog.contextvars.bind_contextvars(trace_id=trace_id(first.watch.traceparent))
        try:
            if first.success is not None:
                pause = await self._results.fetch(first, self._asked(first))
                endings = (Ending(opened=True, observed=True),)
            elif admission is self._streams:
                assert self._connector is not None, "there are streams"
                endings = (await self._connector.follow(first),)
            else:
                assert self._poller is not None, "there are polls"
                polls = self._poller
                endings = await polls.follow_all(turns) if len(turns) > 1 else (await polls.follow(first),)
        except StaleWrite:
            endings = (None,)
        finally:
            self._release(turns, admission, asyncio.current_task())
        for subscription, ending in zip(turns, endings, strict=True):
            self._went(subscription, ending, pause)

    def _went(self, subscription: Subscription, ending: Ending | None, pause: float | None) -> None:
        """Decide what follows a connection; no ending: the watch is not as we know it."""
        if subscription.gone:
            return
        if ending is None:
            self._let_go(subscription)
        elif subscription.watch.ended:
            self._forget(subscription)
        elif subscription.success is None:
            self._after(subscription, ending)
        elif subscription.success.fetched:
            self._archive(subscription, ending)
        else:
            self._await_result(subscription, ending, pause)

    def _await_result(self, subscription: Subscription, ending: Ending, pause: float | None) -> None:
        """Let a success wait for its turn to ask for the result: before all polls at first, then after a pause."""
        subscription.health = WELL
        if pause is None:
            self._note(subscription, ending)
            self._requests.first(subscription)
        else:
            self._requests.later(subscription, asyncio.get_running_loop().time() + pause)

    def _archive(self, subscription: Subscription, ending: Ending) -> None:
        """Let results be archived by a task that holds no place among connections: that may take minutes."""
        assert self._tasks is not None, "the feed runs"
        self._note(subscription, ending)
        task = self._tasks.create_task(
            self._finish(subscription), name=f"results of {self.source.name}/{subscription.watch.id}"
        )
        subscription.begin(task)
        task.add_done_callback(partial(_rest, subscription))  # it may be cancelled before it begins

    async def _finish(self, subscription: Subscription) -> None:
        """Archive and save a success. Like a connection, a boundary for one watch's faults."""
        try:
            await self._observer.finish(subscription)
        except StaleWrite:
            self._let_go(subscription)
        except Exception:
            log.exception("watch.failed", source=self.source.name, id=subscription.watch.id)
        finally:
            _rest(subscription, asyncio.current_task())
        if subscription.watch.ended:
            self._forget(subscription)
        elif not subscription.gone:  # a fault of ours, or a new description
            delay = 0.0 if subscription.renewal is Renewal.NOW else self._limits.policy.reconnect.backoff_max
            subscription.forget_success()
            self._admission(subscription).later(subscription, asyncio.get_running_loop().time() + delay)

    def _asked(self, subscription: Subscription) -> Source:
        """Return the source that has observed a success."""
        return self._poller.source if subscription.polls and self._poller is not None else self.source

    def _release(self, turns: Sequence[Subscription], admission: Admission, task: asyncio.Task[None] | None) -> None:
        if turns[0].task is not task:
            return
        for subscription in turns:
            subscription.task = None
            subscription.stream = None
            subscription.signal(StageSignal.END)
        admission.ended()

    # -- what follows

    def _after(self, subscription: Subscription, ending: Ending) -> None:
        refused = ending.error is not None and not ending.observed
        if subscription.renewal is Renewal.NOW or (subscription.renewal is Renewal.IF_REFUSED and refused):
            self._admission(subscription).now(subscription)  # this connection was the old configuration's
            return
        if self._polls_instead(subscription, ending):
            return
        polled = self._streams is None or subscription.polls
        tick = asyncio.get_running_loop().time()
        decision = self._limits.after(subscription, ending, polled=polled, jitter=self._jitter(), tick=tick)
        self._note(subscription, ending)
        if isinstance(decision, GiveUp):
            self._give_up(subscription, decision)
            return
        subscription.health = decision.health
        if self._streams is not None or ending.error is not None:  # not of each poll that is answered
            log.debug(
                "watch.reconnecting",
                source=self.source.name,
                id=subscription.watch.id,
                delay=round(decision.delay, 3),
                failures=decision.health.failures,
                error=str(ending.error) if ending.error else None,
            )
        if isinstance(ending.error, TaskNotFound):
            subscription.polls = False  # once the task is known it may have a stream
        self._admission(subscription).later(subscription, tick + decision.delay)

    def _polls_instead(self, subscription: Subscription, ending: Ending) -> bool:
        """Let the poll twin be asked for a task without a stream; return whether it is."""
        if self._streams is None or subscription.polls:
            return False
        late = self._limits.is_past_window(subscription.watch)
        if late:
            subscription.last_event_id = ""
        early = reconnect.ended_early_again(ending, subscription.health, self._limits.policy.reconnect)
        if self._poller is None or not (late or early or isinstance(ending.error, NoStream)):
            return False
        if not self._polls_told:
            self._polls_told = True
            reason = ending.error or ("its time to be resumed is over" if late else "it ends early, again and again")
            log.info("source.polls_instead", source=self.source.name, reason=str(reason))
        subscription.polls = True
        self._requests.now(subscription)
        return True

    def _note(self, subscription: Subscription, ending: Ending) -> None:
        """Record whether the connection that ended was a trouble of the source, or proved that it is well."""
        longest = self._limits.policy.reconnect.backoff_max
        self._troubles.ended(subscription.watch.pk, ending, attempts=subscription.health.attempts, longest=longest)

    def _give_up(self, subscription: Subscription, decision: GiveUp) -> None:
        """Give a watch up in a task of its own: others of the same request need not wait until that is saved."""
        assert self._tasks is not None, "the feed runs"
        subscription.signal(StageSignal.CLOSE)
        self._tasks.create_task(
            self._conclude(subscription, decision.reason, decision.detail),
            name=f"giving up {self.source.name}/{subscription.watch.id}",
        )

    async def _conclude(self, subscription: Subscription, reason: LostReason, detail: str) -> None:
        """Save that a watch is lost; it goes on if that could not be saved."""
        if await self._remark(subscription, lambda watch, now: machine.give_up(watch, reason, detail, now)):
            log.warning(
                "watch.lost", source=self.source.name, id=subscription.watch.id, reason=reason.value, detail=detail
            )
        if subscription.watch.ended:
            self._forget(subscription)
        subscription.signal(StageSignal.KEEP)
        if not subscription.gone:
            delay = self._limits.policy.reconnect.backoff_max
            self._admission(subscription).later(subscription, asyncio.get_running_loop().time() + delay)

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
            await asyncio.sleep(self._limits.policy.sweep)
            await self._unheard.look(self._all)
            now, tick, looks = self._clock(), asyncio.get_running_loop().time(), 0
            troubled = self._troubles.any
            for subscription in list(self._all.values()):
                stream = subscription.stream
                ailing = stream is not None and (troubled or stream.unread is not None)
                if (tick < subscription.look_at and not ailing) or subscription.gone:
                    continue
                due = self._limits.look(subscription, now, tick)
                if due is not Due.NOTHING:
                    self._meet(subscription, due, self._tasks)
                looks += 1
                if looks % LOOKS == 0:
                    await asyncio.sleep(0)
            self._announcer.look(self._limits.policy.failing_after if self._all else math.inf, self._tasks)

    def _meet(self, subscription: Subscription, due: Due, tasks: asyncio.TaskGroup) -> None:
        """Do what a look at a watch has found due."""
        if Due.LAST_LOOK in due:
            self._admission(subscription).first(subscription)
        if Due.STALLED in due:
            tasks.create_task(self._stall(subscription), name=f"stall {self.source.name}/{subscription.watch.id}")


def _rest(subscription: Subscription, task: asyncio.Task[None] | None) -> None:
    """Record that a task which held no place is over."""
    if subscription.task is task:
        subscription.task = None
        subscription.signal(StageSignal.END)
