"""A simulated task, which moves by itself, and its open streams. It knows the clock, but no routes and no rules.

A task begins with the first request for it and goes through its transcript at its own pace, with or without a stream,
like a real one. A stream first gets the current snapshot and then each new one. At an interval of zero, the task moves
as fast as an open stream takes its lines, and waits if there is none.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from random import Random

from notifier.tools.faults import FaultPlan, How
from notifier.tools.speech import Speech
from notifier.tools.transcript import Framing, Transcript
from notifier.tools.waiting import Waiters
from notifier.tools.wire import HttpConnection

MAX_MOVES = 256  # remembered of one task


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPace:
    """How every task of a simulator moves."""

    interval: float  # seconds between snapshots; 0: as fast as they are taken
    jitter: float  # share of the interval by which each may come early or late, 0 to 1
    keep_open: bool  # after the last snapshot
    restart: bool  # a new connection starts the task anew
    random: Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A state that was written to a stream, and was not the one written before."""

    at: float  # Unix seconds
    state: str


class SimulatedStream:
    """One open answer of Server-Sent Events, with its faults."""

    __slots__ = ("_connection", "_framing", "_lines", "_open", "_plan", "_timer", "after", "live", "task")

    def __init__(
        self,
        connection: HttpConnection,
        task: SimulatedTask,
        plan: FaultPlan,
        framing: Framing,
        *,
        among: dict[SimulatedStream, None],
        after: int | None = None,
    ) -> None:
        """Be `among` the open streams from `open` to the end."""
        self.task = task
        self.after = after  # the number of the last snapshot that the client has
        self.live = True  # takes snapshots; False when it is silent or ended
        self._connection = connection
        self._plan = plan
        self._framing = framing
        self._open = among
        self._lines = 0
        self._timer: asyncio.TimerHandle | None = None
        connection.on_lost = self._ended

    def open(self) -> None:
        """Write the head and everything before the first snapshot; then follow the task."""
        self._open[self] = None
        self._connection.start("text/event-stream")
        if self._plan.bom:
            self._connection.write(b"\xef\xbb\xbf")
        if self._plan.comments is not None:
            self._comment(self._plan.comments)
            self.task.start()
            return
        self._after_line()
        if self.live:
            self.task.attach(self)

    def send(self, payload: bytes) -> None:
        """Write a snapshot, unless the stream is silent."""
        if not self.live:
            return
        self._connection.write(self.task.speech.frame(self.task.id, payload, self._framing, self._plan.eol))
        self.task.note(payload)
        self._lines += 1
        if self._plan.cut is not None or self._plan.inserts:
            self._after_line()

    def _after_line(self) -> None:
        for insert in self._plan.inserts:
            if insert.after == self._lines:
                end = self._plan.eol if self._framing == "line" else self._plan.eol * 2
                self._connection.write(b"".join(line + end for line in insert.data))
        if self._plan.cut is not None and self._plan.cut.after <= self._lines:
            self.cut(self._plan.cut.how)

    def _comment(self, every: float) -> None:
        self._connection.write(b": ping" + self._plan.eol * 2)
        self._timer = asyncio.get_running_loop().call_later(every, self._comment, every)

    def cut(self, how: How) -> None:
        """Cut the stream short."""
        match how:
            case How.STALL:
                self.live = False
                self._stop_timer()
                return
            case How.DROP:
                self._connection.finish()
            case How.RESET:
                self._connection.reset()
            case How.TRUNCATE:
                self._connection.close()
        self._connection.on_lost = None
        self._ended()

    def finish(self) -> None:
        """End properly, unless the stream is silent."""
        if self.live:
            self.cut(How.DROP)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ended(self) -> None:
        self.live = False
        self._stop_timer()
        self.task.streams.pop(self, None)
        self._open.pop(self, None)
        self.task.waiters.changed()


class SimulatedTask:
    """One simulated task."""

    __slots__ = (
        "_due",
        "_pace",
        "_position",
        "_timer",
        "_transcript",
        "connections",
        "current",
        "ended",
        "id",
        "moves",
        "speech",
        "streams",
        "struck",
        "waiters",
    )

    def __init__(self, id_: str, transcript: Transcript, speech: Speech, pace: SimulatedPace, waiters: Waiters) -> None:
        self.id = id_
        self.speech = speech
        self.connections = 0  # made so far
        self.waiters = waiters  # for its moves, and for the ends of its streams
        self.struck: dict[int, int] = {}  # connections counted by each rule, by its number
        self.current: bytes | None = None  # snapshot; None before the first
        self.ended = False  # the current snapshot is the last
        self.moves: list[Move] = []
        self.streams: dict[SimulatedStream, None] = {}  # a set that keeps its order
        self._transcript = transcript.snapshots
        self._pace = pace
        self._position = 0  # of the next snapshot
        self._due = 0.0  # loop time of the next snapshot
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start to move, unless it has started."""
        if self.current is None and self._timer is None and self._transcript:
            self._due = asyncio.get_running_loop().time()
            self._step()

    def rewind(self) -> None:
        """Go back to before the first snapshot."""
        self.stop()
        self.current, self.ended, self._position = None, False, 0

    def stop(self) -> None:
        """Stop moving."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def attach(self, stream: SimulatedStream) -> None:
        """Follow the task with a stream: from the current snapshot, or from the first that its client missed."""
        if stream.after is not None:
            for payload in self._transcript[stream.after : self._position]:
                stream.send(payload)
        elif self.current is not None:
            stream.send(self.current)
        if stream.live:
            self.streams[stream] = None
            self.start()
            self._run()
            if self.ended and not self._pace.keep_open:
                stream.finish()

    def poll(self) -> bytes:
        """Return the current snapshot for a client that polls; `{}` before the first."""
        if self.current is not None and self._pace.interval == 0 and self._position < len(self._transcript):
            self._step()  # at an interval of zero, each request moves the task
        self.start()
        if self.current is None:
            return b"{}"
        self.note(self.current)
        return self.current

    def push(self, payload: bytes, *, last: bool) -> None:
        """Make this the current snapshot, and stop moving by itself."""
        self.stop()
        self._position = len(self._transcript)
        self._show(payload, last=last)

    def note(self, payload: bytes) -> None:
        """Record a written snapshot."""
        state = self.speech.state_of(payload)
        if len(self.moves) < MAX_MOVES and (not self.moves or self.moves[-1].state != state):
            self.moves.append(Move(at=time.time(), state=state))
            self.waiters.changed()

    def _run(self) -> None:
        if self._pace.interval == 0:
            while self._position < len(self._transcript) and any(stream.live for stream in self.streams):
                self._step()

    def _step(self) -> None:
        payload = self._transcript[self._position]
        self._position += 1
        last = self._position == len(self._transcript)
        self._timer = None
        if self._pace.interval > 0 and not last:
            wander = 1 + self._pace.jitter * (2 * self._pace.random.random() - 1)
            self._due += self._pace.interval * wander
            self._timer = asyncio.get_running_loop().call_at(self._due, self._step)
        self._show(payload, last=last)

    def _show(self, payload: bytes, *, last: bool) -> None:
        self.current, self.ended = payload, last
        for stream in tuple(self.streams):
            stream.send(payload)
        if last and not self._pace.keep_open:
            for stream in tuple(self.streams):
                stream.finish()
        if last:
            self.waiters.changed()
