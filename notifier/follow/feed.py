"""The subscriptions of one source: who connects when, what follows a connection that ended, and when time is up.

The feed decides; its parts do one thing each. `followed.py` keeps the subscriptions, `admission.py` says where they
wait and whose turn it is, `time_limits.py` measures when time is up, for a stream or a watch.

A step that is being saved is never cancelled, since committed deliveries have to be handed on (see Recorder.record). A
watch that is dropped meanwhile closes its connection right after.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from notifier.core import reconnect
from notifier.core.errors import NoStream, StaleWrite, TaskNotFound
from notifier.core.model import Watch
from notifier.core.reconnect import WELL, Ending, GiveUp
from notifier.core.trace import trace_id
from notifier.follow.admission import Admission, Admissions, Slots
from notifier.follow.connection import Connector
from notifier.follow.followed import Followed, Unsure
from notifier.follow.observer import Observer
from notifier.follow.own_steps import OwnSteps
from notifier.follow.policy import FeedPolicy
from notifier.follow.polling import Poller
from notifier.follow.recorder import Recorder
from notifier.follow.results import Results
from notifier.follow.source_announcer import SourceAnnouncer
from notifier.follow.subscription import Renewal, Stage, StageSignal, Subscription
from notifier.follow.time_limits import Due, TimeLimits
from notifier.follow.troubles import Trouble, Troubles
from notifier.follow.unheard import Unheard
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
        self._clock = clock
        self._jitter = jitter
        polled = source if isinstance(source, PollSource) else source.twin
        self._admissions = Admissions(slots=slots, policy=policy, streams=not isinstance(source, PollSource))
        self._troubles = Troubles(source.name, now=time.monotonic)
        self._unheard = Unheard(recorder)
        self.followed = Followed(troubles=self._troubles, unheard=self._unheard, unsure=unsure)
        self._limits = TimeLimits(policy=policy, clock=clock, troubles=self._troubles)
        self._announcer = SourceAnnouncer(source.name, troubles=self._troubles, recorder=recorder, clock=clock)
        observer = Observer(recorder=recorder, troubles=self._troubles, clock=clock)
        self._results = Results(observer=observer, followed=self.followed, admissions=self._admissions)
        self._own_steps = OwnSteps(recorder=recorder, followed=self.followed, admissions=self._admissions, clock=clock)
        self._poller = (
            None
            if polled is None
            else Poller(source=polled, observer=observer, metrics=metrics, admission=self._admissions.requests)
        )
        self._connector = (
            None if isinstance(source, PollSource) else Connector(source=source, observer=observer, metrics=metrics)
        )
        self._polls_told = False  # that tasks without a stream are polled
        self._stopped = False
        self._tasks: asyncio.TaskGroup | None = None

    # -- what others ask of it

    def __len__(self) -> int:
        return len(self.followed)

    @property
    def open(self) -> int:
        """Return how many streams are open or being opened; a poll is none."""
        return self._admissions.open

    @property
    def max_streams(self) -> int:
        """Return how many connections may be open at a time."""
        return self._admissions.limit

    @property
    def connect_rate(self) -> float:
        """Return how many watches may connect a second."""
        return self._limits.policy.connect_rate

    @property
    def waiting(self) -> int:
        """Return how many watches could connect now, but wait for a free stream or for their turn."""
        return self._admissions.waiting

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

    def add(self, watch: Watch) -> None:
        """Follow a watch; one of the same number is replaced."""
        subscription = self.followed.add(watch)
        if self._limits.is_overdue(watch, self._clock()):
            subscription.overdue = asyncio.get_running_loop().time()
        if self._limits.is_past_window(watch):
            subscription.last_event_id = ""
        self._admissions.of(subscription).now(subscription)

    def drop(self, pk: int) -> None:
        """Stop following a watch."""
        self.followed.drop(pk)

    def describe(self, watch: Watch) -> None:
        """Take over labels, metadata, endpoints and callback; the connection stays, unless the variables changed."""
        subscription = self.followed.get(watch.pk)
        if subscription is None:
            return
        elsewhere = subscription.watch.variables != watch.variables
        self.followed.describe(subscription, watch)
        if elsewhere:
            subscription.renew()
            self._hurry(subscription)

    def update(self, policy: FeedPolicy, *, reopen: bool, hurry: bool) -> None:
        """Take a new policy. `reopen`: connect every stream anew. `hurry`: let nothing wait for its backoff."""
        self._limits.policy = policy
        self._admissions.update(policy)
        for subscription in self.followed:
            subscription.look_at = 0.0
            if not (reopen or hurry):
                continue
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
            self._admissions.of(subscription).now(subscription)

    def stop(self) -> None:
        """Follow nothing more; `run` returns once the steps that are being saved are safe."""
        self._stopped = True
        for subscription in self.followed:
            self.followed.forget(subscription)
        self._admissions.wake()

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
            self._admissions.close()
            self._tasks = None

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
            await wake.wait(turn)

    def _along(self, turn: Subscription, admission: Admission, now: float) -> Sequence[Subscription]:
        """Return the subscriptions that the request of a turn asks for as well."""
        batch = 1 if self._poller is None or admission is self._admissions.streams else self._poller.source.batch
        if batch == 1 or turn.success is not None or turn.alone:
            return ()
        ahead = GATHER * self._limits.policy.poll.interval if self._limits.policy.poll is not None else 0.0
        variables = turn.watch.variables
        return admission.along(
            batch - 1,
            lambda each: each.success is None and not each.alone and each.watch.variables == variables,
            now + ahead,
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
            if first.gone and not first.shared:  # it was dropped before this task ran
                return
            if first.success is not None:
                pause = await self._results.fetch(first, self._asked(first))
                endings = (Ending(opened=True, observed=True),)
            elif admission is self._admissions.streams:
                assert self._connector is not None, "there are streams"
                endings = (await self._connector.follow(first),)
            else:
                assert self._poller is not None, "there are polls"
                polls = self._poller
                endings = await polls.follow_all(turns) if len(turns) > 1 else (await polls.follow(first),)
        except StaleWrite:
            endings = (None,)
        finally:
            self._release(turns, admission)
        for subscription, ending in zip(turns, endings, strict=True):
            self._went(subscription, ending, pause)

    def _went(self, subscription: Subscription, ending: Ending | None, pause: float | None) -> None:
        """Decide what follows a connection; no ending: the watch is not as we know it."""
        if subscription.gone:
            return
        if ending is None:
            self.followed.let_go(subscription)
        elif subscription.watch.ended:
            self.followed.forget(subscription)
        elif subscription.success is None:
            self._after(subscription, ending)
        elif subscription.success.fetched:
            assert self._tasks is not None, "the feed runs"
            self._note(subscription, ending)
            self._results.archive(subscription, self._tasks, retry=self._limits.policy.reconnect.backoff_max)
        else:
            subscription.health = WELL
            if pause is None:
                self._note(subscription, ending)
            self._results.wait(subscription, pause)

    def _asked(self, subscription: Subscription) -> Source:
        """Return the source that has observed a success."""
        return self._poller.source if subscription.polls and self._poller is not None else self.source

    def _release(self, turns: Sequence[Subscription], admission: Admission) -> None:
        for subscription in turns:
            subscription.task = None
            subscription.stream = None
            subscription.signal(StageSignal.END)
        admission.ended()

    # -- what follows

    def _after(self, subscription: Subscription, ending: Ending) -> None:
        refused = ending.error is not None and not ending.observed
        if subscription.renewal is Renewal.NOW or (subscription.renewal is Renewal.IF_REFUSED and refused):
            self._admissions.of(subscription).now(subscription)  # this connection was the old configuration's
            return
        if self._polls_instead(subscription, ending) or self._asks_alone(subscription, ending):
            return
        polled = self._admissions.streams is None or subscription.polls
        tick = asyncio.get_running_loop().time()
        decision = self._limits.after(subscription, ending, polled=polled, jitter=self._jitter(), tick=tick)
        self._note(subscription, ending)
        if isinstance(decision, GiveUp):
            assert self._tasks is not None, "the feed runs"
            retry = self._limits.policy.reconnect.backoff_max
            self._own_steps.give_up(subscription, decision, self._tasks, retry=retry)
            return
        subscription.health = decision.health
        if self._admissions.streams is not None or ending.error is not None:  # not of each poll that is answered
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
        self._admissions.of(subscription).later(subscription, tick + decision.delay)

    def _asks_alone(self, subscription: Subscription, ending: Ending) -> bool:
        """Let a watch have a poll of its own after an answer about several did not name it; return whether it has.

        Such an answer may be cut short. A watch that was found alone is asked for with others again, but once only.
        """
        if ending.unnamed:
            subscription.alone, subscription.unnamed = True, subscription.unnamed + 1
            wait = min(ending.hint or 0.0, reconnect.MAX_HINT)
            self._admissions.requests.later(subscription, asyncio.get_running_loop().time() + wait)
        elif ending.observed:
            subscription.alone = subscription.unnamed > 1
        return ending.unnamed

    def _polls_instead(self, subscription: Subscription, ending: Ending) -> bool:
        """Let the poll twin be asked for a task without a stream; return whether it is."""
        if self._admissions.streams is None or subscription.polls:
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
        self._admissions.requests.now(subscription)
        return True

    def _note(self, subscription: Subscription, ending: Ending) -> None:
        """Record whether the connection that ended was a trouble of the source, or proved that it is well."""
        longest = self._limits.policy.reconnect.backoff_max
        self._troubles.ended(subscription.watch.pk, ending, attempts=subscription.health.attempts, longest=longest)

    # -- time limits: idle, stalled, past the deadline

    async def _sweep(self) -> None:
        assert self._tasks is not None
        while True:
            await asyncio.sleep(self._limits.policy.sweep)
            await self.followed.look()
            now, tick, looks = self._clock(), asyncio.get_running_loop().time(), 0
            troubled = self._troubles.any
            for subscription in self.followed:
                stream = subscription.stream
                ailing = stream is not None and (troubled or stream.unread is not None)
                if (tick < subscription.look_at and not ailing) or subscription.gone:
                    continue
                due = self._limits.look(subscription, now, tick)
                if due is not Due.NOTHING:
                    if Due.LAST_LOOK in due:
                        self._admissions.of(subscription).first(subscription)
                    if Due.STALLED in due:
                        self._own_steps.stall(subscription, self._tasks)
                looks += 1
                if looks % LOOKS == 0:
                    await asyncio.sleep(0)
            self._announcer.look(self._limits.policy.failing_after if len(self.followed) else math.inf, self._tasks)
