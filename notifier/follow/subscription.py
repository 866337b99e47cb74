"""One watch while a feed follows it: its stage, and what its connections have brought so far.

The stage decides what may happen to the watch's task. `STAGES` decides every pair of a stage and a signal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from notifier.core.errors import SourceError
from notifier.core.model import Watch
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
    cut: SourceError | None = None  # why we ended the stream ourselves
    last_event_id: str = ""  # of the last event that was read, behind which the next stream may go on
    overdue: float | None = None  # loop time since when the deadline is known to have passed
    asked: float | None = None  # loop time at which the first connection after the deadline was over
    looked: bool = False  # the last look at the upstream is complete
    entry: int = -1  # the number of its entry in the admission; entries with other numbers are void
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while a step is taken

    def __post_init__(self) -> None:
        self.last_event_id = self.watch.last_event_id

    @property
    def gone(self) -> bool:
        """Return whether it must not connect any more."""
        return self.stage is Stage.GONE

    @property
    def reads(self) -> bool:
        """Return whether its task should read on."""
        return self.stage is Stage.CONNECTED and self.renewal is not Renewal.NOW and not self.watch.ended

    def signal(self, signal: StageSignal) -> Stage:
        """Move to the next stage; return the one before."""
        before = self.stage
        self.stage = _NEXT[before][signal]
        return before

    def begin(self) -> None:
        """Begin a connection: nothing of the one before counts any more."""
        self.signal(StageSignal.TURN)
        self.renewal = Renewal.NONE
        self.cut = None

    def drop(self) -> None:
        """Follow it no longer. A connection is closed at once; a step that is being saved is saved first."""
        before = self.signal(StageSignal.DROP)
        if before is Stage.CONNECTED and self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    def interrupt(self, error: SourceError | None = None) -> None:
        """End the open stream, if there is one, as if it had ended by itself or by `error`."""
        if self.stream is not None:
            self.cut = error
            self.stream.close()

    def describe(self, like: Watch) -> None:
        """Take over labels, metadata, endpoints, callback and variables."""
        self.watch = _described(self.watch, like)

    def moved(self, watch: Watch) -> None:
        """Take over the watch of a step that was recorded; a description that changed meanwhile stays."""
        now = self.watch
        if _description(now) != _description(watch):
            watch = _described(watch, now)
        self.watch = watch


def _description(watch: Watch) -> tuple[object, ...]:
    return watch.labels, watch.metadata, watch.endpoints, watch.callback, watch.variables, watch.traceparent


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
