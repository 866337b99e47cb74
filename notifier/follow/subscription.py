"""One watch while a feed follows it: its stage, and what its connections have brought so far.

The stage decides what may happen to the watch's task. `STAGES` decides every pair of a stage and a signal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from inspect import CORO_CREATED, getcoroutinestate

from notifier.core.errors import SourceError
from notifier.core.history import BEGINNING
from notifier.core.model import Observation, Watch
from notifier.core.reconnect import WELL, Health
from notifier.sources.sse import SseStream


class Stage(IntEnum):
    """Where a subscription is."""

    WAITING = 0  # no connection: it waits for its turn, or for its backoff to pass
    CONNECTED = 1  # its task connects or reads, and may be cancelled
    SAVING = 2  # its task saves a step, and must not be cancelled
    CLOSING = 3  # its task saves the final step without a connection, and must not be cancelled
    GONE = 4  # it is followed no longer


class StageSignal(IntEnum):
    """What happens to a subscription."""

    TURN = 0  # its task begins
    SAVE = 1  # a step is about to be saved
    SAVED = 2  # the step was saved, or could not be
    END = 3  # the connection is over
    CLOSE = 4  # the watch is about to be given up
    KEEP = 5  # the final step could not be saved: the watch goes on
    DROP = 6  # the watch has ended, or somebody else follows it


_GONE: Mapping[StageSignal, Stage] = dict.fromkeys(StageSignal, Stage.GONE)  # nothing comes after it


def _row(stage: Stage, **moves: Stage) -> Mapping[StageSignal, Stage]:
    """Return the row of a stage. It stays for every signal that is not named, except that DROP always ends it."""
    named = {StageSignal[name]: to for name, to in moves.items()}
    return dict.fromkeys(StageSignal, stage) | {StageSignal.DROP: Stage.GONE} | named


STAGES: Mapping[Stage, Mapping[StageSignal, Stage]] = {
    Stage.WAITING: _row(Stage.WAITING, TURN=Stage.CONNECTED, CLOSE=Stage.CLOSING),
    Stage.CONNECTED: _row(Stage.CONNECTED, SAVE=Stage.SAVING, END=Stage.WAITING, CLOSE=Stage.CLOSING),
    Stage.SAVING: _row(Stage.SAVING, SAVED=Stage.CONNECTED, END=Stage.WAITING),
    Stage.CLOSING: _row(Stage.CLOSING, KEEP=Stage.WAITING),
    Stage.GONE: _GONE,
}
_NEXT = tuple(tuple(STAGES[stage][each] for each in StageSignal) for stage in Stage)  # found without hashing an enum


class Renewal(IntEnum):
    """What an update of the source asks of a connection that is open or being opened."""

    NONE = 0  # nothing
    IF_REFUSED = 1  # if it cannot be opened, the next one comes at once
    NOW = 2  # the next one takes its place at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """A success that was observed and is not saved yet: its result is still to be requested or archived."""

    observation: Observation
    until: float  # loop time to which the result is asked for
    tries: int = 0  # requests that brought none
    fetched: bool = False  # there is no request to be made any more


@dataclass(slots=True, eq=False)
class Subscription:
    """One watch; it has at most one connection at a time."""

    watch: Watch
    health: Health = WELL
    stage: Stage = Stage.WAITING
    renewal: Renewal = Renewal.NONE
    task: asyncio.Task[None] | None = None  # while it is connected or connecting
    stream: SseStream | None = None
    opened: float = 0.0  # loop time at which the last stream was opened
    success: Success | None = None  # waits for its result
    polls: bool = False  # there is no stream for it: the source's poll twin is asked
    alone: bool = False  # it is polled by itself: an answer about several tasks did not name it
    unnamed: int = 0  # the number of such answers
    shared: bool = False  # its task asks for other watches as well, and is not cancelled for this one
    etag: str = ""  # of the last answer to a poll that was taken in
    cut: SourceError | None = None  # why we ended the stream ourselves
    last_event_id: str = ""  # of the last event that was read, behind which the next stream may go on
    began: tuple[str | None, ...] | None = None  # the first states of the watch, as far as they matter; None: unknown
    retry: float | None = None  # seconds that its streams asked us to wait before the next (`retry:`)
    look_at: float = 0.0  # loop time before which no limit of the watch, or of its stream, is reached
    overdue: float | None = None  # loop time since when the deadline is known to have passed
    asked: float | None = None  # loop time at which the first connection after the deadline was over
    looked: bool = False  # the last look at the upstream is complete
    entry: int = -1  # the number of its entry in the admission; entries with other numbers are void
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while a step is taken

    def __post_init__(self) -> None:
        self.last_event_id = self.watch.last_event_id
        if self.watch.state is None:
            self.began = ()

    @property
    def gone(self) -> bool:
        """Return whether it must not connect any more."""
        return self.stage is Stage.GONE

    @property
    def reads(self) -> bool:
        """Return whether its task should read on."""
        return self.connected and self.success is None

    @property
    def connected(self) -> bool:
        """Return whether what its task learns still counts."""
        return self.stage is Stage.CONNECTED and self.renewal is not Renewal.NOW and not self.watch.ended

    def signal(self, signal: StageSignal) -> Stage:
        """Move to the next stage; return the one before."""
        before = self.stage
        self.stage = _NEXT[before][signal]
        return before

    def begin(self, task: asyncio.Task[None], *, shared: bool = False) -> None:
        """Begin a connection, which `task` uses: nothing of the one before counts any more.

        `shared`: the task asks for other watches as well.
        """
        self.task, self.shared = task, shared
        self.signal(StageSignal.TURN)
        self.renewal = Renewal.NONE
        self.cut = None

    def drop(self) -> None:
        """Follow it no longer. A connection is closed at once; a step that is being saved is saved first.

        A task that has not run yet is not cancelled: it would never give its place back. It ends at its first step.
        """
        before = self.signal(StageSignal.DROP)
        task = None if self.shared else self.task
        if (
            before is Stage.CONNECTED
            and task is not None
            and task is not asyncio.current_task()
            and getcoroutinestate(task.get_coro()) != CORO_CREATED  # type: ignore[arg-type]  # it is a coroutine
        ):
            task.cancel()

    def interrupt(self, error: SourceError | None = None) -> None:
        """End the open stream, if there is one, as if it had ended by itself or by `error`."""
        if self.stream is not None:
            self.cut = error
            self.stream.close()

    def renew(self) -> None:
        """Forget what the upstream said so far: the next connection may be to another, or show other states."""
        self.health = WELL
        self.last_event_id = self.etag = ""
        self.retry = None
        self.success = None
        self.polls = self.alone = False
        self.unnamed = 0
        self.renewal = Renewal.NOW
        self.interrupt()

    def forget_success(self) -> None:
        """Forget a success that could not be saved, and what would keep the upstream from telling it again."""
        self.success = None
        self.etag, self.last_event_id = "", self.watch.last_event_id

    def remember(self, *, etag: str | None = None, place: str | None = None) -> None:
        """Keep the tag of an answer, or a place in the stream; not where it is the old description's."""
        if self.renewal is Renewal.NOW:
            return
        if etag is not None:
            self.etag = etag
        if place is not None:
            self.last_event_id = place

    def describe(self, like: Watch) -> None:
        """Take over what describes a watch from another of the same task; its state stays."""
        self.watch = _described(self.watch, like)

    def moved(self, before: Watch, watch: Watch) -> None:
        """Take over the watch of a step from `before` that was recorded; a description that changed meanwhile stays."""
        now = self.watch
        self.look_at = 0.0
        if self.began is not None and len(self.began) < BEGINNING and watch.state != now.state:
            self.began = (*self.began, watch.state)
        self.watch = watch if now is before else _described(watch, now)


def _described(watch: Watch, like: Watch) -> Watch:
    return replace(
        watch,
        labels=like.labels,
        metadata=like.metadata,
        endpoints=like.endpoints,
        callback=like.callback,
        variables=like.variables,
        traceparent=like.traceparent,
    )
