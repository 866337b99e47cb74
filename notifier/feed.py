"""The subscriptions of one source: who may connect when, and what follows a connection that ended.

A watch that waits (for its turn, or for its backoff to pass) is a small object in a heap; only an open connection has a
task. Of those that are due the oldest goes first.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

import structlog

from notifier.core import machine, reconnect
from notifier.core.errors import NoContent, Refused, SourceError, StaleWrite, TaskNotFound, Unavailable, Unreadable
from notifier.core.machine import Step
from notifier.core.model import LostReason, Micros, Observation, Watch
from notifier.core.pace import TokenBucket
from notifier.core.reconnect import WELL, GiveUp, Health, ReconnectPolicy, Wait
from notifier.interfaces import Source, Stream
from notifier.metrics import Metrics
from notifier.recorder import Recorder

log = structlog.get_logger(__name__)

RAMP = 0.1  # seconds' worth of connections that may start at once
SWEEP = (0.05, 1.0)  # seconds between looks at the clocks, least and most

_OUTCOMES: tuple[tuple[type[SourceError], str], ...] = (
    (Refused, "refused"),
    (TaskNotFound, "not_found"),
    (Unreadable, "unreadable"),
    (NoContent, "no_content"),
    (Unavailable, "unavailable"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPolicy:
    """A source's limits; times in seconds."""

    reconnect: ReconnectPolicy = field(default_factory=ReconnectPolicy)
    max_streams: int = 2000
    connect_rate: float = 200.0  # a second
    idle_timeout: float = 90.0  # without a byte
    deadline: float = 86400.0  # of a whole watch
    stall_after: float | None = None  # without a change


@dataclass(slots=True, eq=False)
class Subscription:
    """A watch with what is remembered of its connections."""

    watch: Watch
    health: Health = WELL
    task: asyncio.Task[None] | None = None
    stream: Stream | None = None
    reading: asyncio.Timeout | None = None  # around the wait for the next observation, and only that
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while a step is taken
    closing: bool = False  # a final step is on its way
    dropped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    error: SourceError | None = None
    observed: bool = False
    hint: float | None = None


class Slots:
    """The open streams that the whole process may have, over all sources."""

    def __init__(self, limit: int) -> None:
        self.free = limit


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
        self._metrics = metrics
        self._slots = slots
        self._clock = clock
        self._jitter = jitter
        self._lost_hold = lost_hold
        self._all: dict[int, Subscription] = {}
        self._sleeping: list[tuple[float, int, Subscription]] = []  # by the time that they are due
        self._due: list[tuple[Micros, int, Subscription]] = []  # oldest watch first
        self._open = 0
        self._wake = asyncio.Event()
        self._troubles: set[str] = set()  # said so already
        self._bucket = _bucket(policy)
        self._gauge = metrics.streams_open.labels(source.name)
        self._tasks: asyncio.TaskGroup | None = None

    # -- what others ask of it

    def __len__(self) -> int:
        return len(self._all)

    @property
    def open(self) -> int:
        """Return how many connections are open or being opened."""
        return self._open

    def watches(self) -> list[Watch]:
        """Return what is followed."""
        return [subscription.watch for subscription in self._all.values()]

    def add(self, watch: Watch) -> None:
        """Follow a watch; one of the same number is replaced."""
        self.drop(watch.pk)
        subscription = self._all[watch.pk] = Subscription(watch)
        self._make_due(subscription)

    def drop(self, pk: int) -> None:
        """Stop following a watch."""
        subscription = self._all.pop(pk, None)
        if subscription is not None:
            subscription.dropped = True
            if subscription.task is not None:
                subscription.task.cancel()

    def describe(self, watch: Watch) -> None:
        """Take over labels, metadata and endpoints; the connection stays."""
        subscription = self._all.get(watch.pk)
        if subscription is not None:
            subscription.watch = replace(
                subscription.watch, labels=watch.labels, metadata=watch.metadata, endpoints=watch.endpoints
            )

    def update(self, policy: FeedPolicy, *, reopen: bool, hurry: bool) -> None:
        """Take a new policy. `reopen`: connect every stream anew. `hurry`: let nothing wait for its backoff."""
        if policy.connect_rate != self._policy.connect_rate:
            self._bucket = _bucket(policy)
        self._policy = policy
        if reopen:
            for subscription in self._all.values():
                if subscription.reading is not None:
                    subscription.reading.reschedule(asyncio.get_running_loop().time())
        if hurry or reopen:
            for _, _, subscription in self._sleeping:
                subscription.health = WELL
                self._make_due(subscription)
            self._sleeping.clear()
        self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._sweep(), name=f"sweep {self.source.name}")
                await self._admit(tasks)
        finally:
            self._tasks = None

    # -- who may connect

    def _make_due(self, subscription: Subscription) -> None:
        heappush(self._due, (subscription.watch.created_at, subscription.watch.pk, subscription))
        self._wake.set()

    async def _admit(self, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            wait = self._start_due(tasks, loop.time())
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _start_due(self, tasks: asyncio.TaskGroup, now: float) -> float | None:
        """Start what may start; return the seconds until more may, None: not before something happens."""
        while self._sleeping and self._sleeping[0][0] <= now:
            self._make_due(heappop(self._sleeping)[2])
        while self._due and self._open < self._policy.max_streams and self._slots.free > 0:
            pause = self._bucket.wait(now)
            if pause > 0:
                return pause
            subscription = heappop(self._due)[2]
            if subscription.dropped or subscription.closing:
                continue
            self._bucket.take()
            self._open += 1
            self._slots.free -= 1
            subscription.task = tasks.create_task(
                self._session(subscription), name=f"watch {self.source.name}/{subscription.watch.id}"
            )
        return self._sleeping[0][0] - now if self._sleeping else None

    # -- one connection

    async def _session(self, subscription: Subscription) -> None:
        try:
            ended = await self._connection(subscription)
        except StaleWrite:
            self._forget(subscription)
            self._lost_hold(subscription.watch)
            return
        finally:
            subscription.task = None
            subscription.stream = None
            self._open -= 1
            self._slots.free += 1
            self._wake.set()
        if subscription.dropped or subscription.closing:
            return
        if subscription.watch.ended:
            self._forget(subscription)
            return
        await self._after(subscription, ended)

    async def _connection(self, subscription: Subscription) -> _Ended:
        """Connect, read to the end, and tell how it ended; the boundary that keeps one watch's fault from the rest."""
        stream: Stream | None = None
        error: SourceError | None = None
        try:
            stream = await self._open_stream(subscription)
            await self._read(subscription, stream)
        except SourceError as exc:
            error = exc
        except TimeoutError:
            error = Unavailable(f"no bytes for {self._policy.idle_timeout:g} s")
        except StaleWrite:
            raise
        except Exception:
            log.exception("watch.failed", source=self.source.name, id=subscription.watch.id)
            error = Unavailable("an internal error; see the log")
        finally:
            if stream is not None:
                stream.close()
                self._gauge.dec()
        if stream is None:
            self._trouble(error)
            return _Ended(error=error)
        return _Ended(error=error, observed=stream.observations > 0, hint=stream.retry)

    async def _open_stream(self, subscription: Subscription) -> Stream:
        outcome = "failed"
        try:
            stream = await self.source.open(subscription.watch.id)
            outcome = "open"
        except SourceError as exc:
            outcome = next(name for kind, name in _OUTCOMES if isinstance(exc, kind))
            raise
        finally:
            self._metrics.stream_connects.labels(self.source.name, outcome).inc()
        subscription.stream = stream
        self._gauge.inc()
        return stream

    async def _read(self, subscription: Subscription, stream: Stream) -> None:
        while not subscription.watch.ended:
            try:
                async with asyncio.timeout(None) as subscription.reading:
                    observation = await anext(stream)
            except StopAsyncIteration:
                return
            finally:
                subscription.reading = None
            if self._troubles:
                log.info("source.recovered", source=self.source.name, after=sorted(self._troubles))
                self._troubles.clear()
            await self._observe(subscription, observation)

    async def _observe(self, subscription: Subscription, observation: Observation) -> None:
        async with subscription.lock:
            await self._take(subscription, machine.step(subscription.watch, observation, self._clock()))

    async def _take(self, subscription: Subscription, step: Step) -> None:
        await self._recorder.record(step)
        # Labels may have been described anew meanwhile; the step's other values are the committed ones.
        now = subscription.watch
        subscription.watch = replace(step.watch, labels=now.labels, metadata=now.metadata, endpoints=now.endpoints)

    # -- what follows

    async def _after(self, subscription: Subscription, ended: _Ended) -> None:
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
        due = asyncio.get_running_loop().time() + decision.delay
        heappush(self._sleeping, (due, subscription.watch.pk, subscription))
        self._wake.set()

    async def _conclude(self, subscription: Subscription, reason: LostReason, detail: str) -> None:
        """Give a watch up."""
        subscription.closing = True
        if await self._remark(subscription, lambda watch, now: machine.give_up(watch, reason, detail, now)):
            log.warning(
                "watch.lost", source=self.source.name, id=subscription.watch.id, reason=reason.value, detail=detail
            )
            self._forget(subscription)
        else:
            subscription.closing = False

    async def _stall(self, subscription: Subscription) -> None:
        def step(watch: Watch, now: Micros) -> Step:
            return machine.stall(watch, (now - watch.changed_at) / 1e6, now)

        await self._remark(subscription, step)

    async def _remark(self, subscription: Subscription, step: Callable[[Watch, Micros], Step]) -> bool:
        """Take a step that no observation asked for; like a connection, a boundary for one watch's faults."""
        async with subscription.lock:
            try:
                await self._take(subscription, step(subscription.watch, self._clock()))
            except StaleWrite:
                self._forget(subscription)
                self._lost_hold(subscription.watch)
            except Exception:
                log.exception("watch.failed", source=self.source.name, id=subscription.watch.id)
            else:
                return True
        return False

    def _forget(self, subscription: Subscription) -> None:
        subscription.dropped = True
        if self._all.get(subscription.watch.pk) is subscription:
            del self._all[subscription.watch.pk]
        if subscription.task is not None and subscription.task is not asyncio.current_task():
            subscription.task.cancel()

    def _trouble(self, error: SourceError | None) -> None:
        """Say once what is wrong with a source, not once for each of its thousands of watches."""
        kind = next((name for kind, name in _OUTCOMES if isinstance(error, kind)), "")
        if kind in {"refused", "unreadable", "unavailable"} and kind not in self._troubles:
            self._troubles.add(kind)
            hint = "check the source's token" if kind == "refused" else "trying again"
            log.warning(f"source.{kind}", source=self.source.name, error=str(error), hint=hint)

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
        stream, reading = subscription.stream, subscription.reading
        if stream is not None and reading is not None and tick - stream.last_activity >= policy.idle_timeout:
            reading.reschedule(tick)


def _bucket(policy: FeedPolicy) -> TokenBucket:
    return TokenBucket(policy.connect_rate, max(1.0, policy.connect_rate * RAMP))
