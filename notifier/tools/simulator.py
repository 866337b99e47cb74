"""A simulated upstream, with faults on request: it chooses replies and counts them.

It speaks the documented API, or a preset's protocol (`speech.py`). The first request for a task creates it.
`/_control/` controls the simulator from another process.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from random import Random
from types import MappingProxyType
from typing import Self, assert_never

from notifier.core.model import Json
from notifier.tools import control
from notifier.tools.faults import Answer, Fault, FaultPlan, Hangup, How, error_body, parse_fault
from notifier.tools.rules import Known, Rules
from notifier.tools.simulated import Move, SimulatedPace, SimulatedStream, SimulatedTask
from notifier.tools.speech import DOCUMENTED_PATH, DocumentedSpeech, Question, Speech, SpeechReply, Want
from notifier.tools.transcript import Framing, Transcript
from notifier.tools.waiting import PATIENCE, Waiters, raise_descriptor_limit, until_stopped
from notifier.tools.wire import HttpConnection, HttpRequest

MAX_TASKS = 200_000  # remembered; beyond it the oldest that has ended and nobody follows is forgotten
BACKLOG = 4096  # thousands of clients may connect in one instant; the kernel caps it at somaxconn

__all__ = ["DOCUMENTED_PATH", "Simulator", "SimulatorSummary", "serve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSummary:
    """The counts of what a simulator has done."""

    tasks: int
    requests: int
    connects: int  # streams opened
    open_streams: int
    peak_streams: int
    outcomes: Mapping[str, int]  # requests by `stream`, `snapshot`, a fault's kind or a status

    def __str__(self) -> str:
        """Return one line."""
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.outcomes.items()))
        return f"{self.tasks} tasks, {self.connects} streams (at most {self.peak_streams} at once); {counts or 'idle'}"


class Simulator:
    """The upstream; usable as `async with Simulator(...) as sim`, or by `await serve(sim, ...)`."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,  # 0: any free one
        token: str | None = None,  # None: any, or none
        speech: Speech | None = None,  # None: the documented API
        ids: Iterable[str] | None = None,  # known ids, as globs; None: all but `unknown*`
        transcript: Transcript | None = None,  # None: the usual one of the speech
        transcripts: Mapping[str, Transcript] = MappingProxyType({}),  # by glob of ids, first match; else `transcript`
        framing: Framing = "line",
        interval: float = 0.0,  # seconds between snapshots; 0: as fast as they are taken
        jitter: float = 0.0,  # share of the interval, 0 to 1
        keep_open: bool = False,  # after the last snapshot
        restart_on_reconnect: bool = False,  # False: a task goes on while nobody listens
        faults: Iterable[tuple[str, Fault]] = (),  # (glob of ids, fault)
        seed: int | None = None,  # of jitter and of faults with a percentage
    ) -> None:
        if not 0 <= interval < float("inf") or not 0 <= jitter <= 1:
            raise ValueError("interval is at least 0 seconds, jitter from 0 to 1")
        self.host, self.port, self.token, self.framing = host, port, token, framing
        self.tasks: dict[str, SimulatedTask] = {}
        self.outcomes: Counter[str] = Counter()
        self.connects = 0
        self.peak_streams = 0
        self.speech: Speech = speech or DocumentedSpeech()
        self._known = Known(ids)
        self._transcript = transcript or self.speech.load("documented")
        self._transcripts = dict(transcripts)
        self._random = Random(seed)
        self._pace = SimulatedPace(
            interval=interval, jitter=jitter, keep_open=keep_open, restart=restart_on_reconnect, random=self._random
        )
        self._rules = Rules(faults, self._random)
        self._connections: set[HttpConnection] = set()
        self._streams: dict[SimulatedStream, None] = {}
        self._waiters = Waiters()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen. Raises OSError if the address is not available."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: HttpConnection(self._respond, among=self._connections, waiters=self._waiters),
            self.host,
            self.port,
            backlog=BACKLOG,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        for task in self.tasks.values():
            task.stop()
        for connection in tuple(self._connections):
            connection.transport.abort()
        await self._server.wait_closed()
        await self.wait_for(lambda _: not self._connections)
        self._server = None

    @property
    def base_url(self) -> str:
        """Return its URL."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def open_connections(self) -> int:
        """Count the connections that are open now, with a stream or without."""
        return len(self._connections)

    @property
    def open_streams(self) -> int:
        """Count the streams that are open now, silent ones included."""
        return len(self._streams)

    def summary(self) -> SimulatorSummary:
        """Return the counts so far."""
        return SimulatorSummary(
            tasks=len(self.tasks),
            requests=self.outcomes.total(),
            connects=self.connects,
            open_streams=self.open_streams,
            peak_streams=self.peak_streams,
            outcomes=dict(self.outcomes),
        )

    def written(self, id_: str) -> tuple[Move, ...]:
        """Return the changes of state that were written for a task, the first 256 of them."""
        task = self.tasks.get(id_)
        return tuple(task.moves) if task else ()

    async def wait_for(self, holds: Callable[[Simulator], bool], *, timeout: float | None = PATIENCE) -> None:
        """Return when `holds(self)`, which is evaluated after each connect, end and change. Raises TimeoutError."""
        await self._waiters.wait(lambda: holds(self), timeout=timeout)

    async def wait_open(self, n: int, *, timeout: float | None = PATIENCE) -> None:
        """Return when exactly `n` streams are open. Raises TimeoutError."""
        await self.wait_for(lambda sim: sim.open_streams == n, timeout=timeout)

    async def wait_connects(self, n: int, *, timeout: float | None = PATIENCE) -> None:
        """Return when at least `n` streams have been opened in all. Raises TimeoutError."""
        await self.wait_for(lambda sim: sim.connects >= n, timeout=timeout)

    def fault(self, glob: str, fault: Fault | str) -> None:
        """Let something go wrong on connections still to come, for tasks whose id matches. Raises ValueError."""
        self._rules.add(glob, parse_fault(fault) if isinstance(fault, str) else fault)

    def clear_faults(self) -> None:
        """Let nothing more go wrong on connections still to come."""
        self._rules.clear()

    def cut(self, glob: str = "*", how: How = How.RESET) -> int:
        """Cut open streams short; return how many."""
        hit = [stream for stream in self._streams if fnmatchcase(stream.task.id, glob)]
        for stream in hit:
            stream.cut(how)
        return len(hit)

    def drop_all(self) -> int:
        """Drop every open stream with RST, as a crashing upstream does; return how many."""
        return self.cut()

    def push(self, id_: str, payload: Json, *, last: bool | None = None) -> None:
        """Make this the task's current snapshot; from then on, it moves only by calls of this method.

        `payload` is a state, or a snapshot as bytes or as a value for JSON. Streams end after it if it is the `last`;
        by default a terminal state is.
        """
        data = self.speech.say(payload) if isinstance(payload, str) else control.encode(payload)
        self._task(id_).push(data, last=self.speech.ends(data) if last is None else last)

    def course(self, glob: str, transcript: Transcript) -> None:
        """Let tasks still to come whose id matches go through these snapshots."""
        self._transcripts = {glob: transcript, **self._transcripts}

    def _task(self, id_: str) -> SimulatedTask:
        task = self.tasks.get(id_)
        if task is None:
            if len(self.tasks) >= MAX_TASKS:
                idle = next((old.id for old in self.tasks.values() if old.ended and not old.streams), None)
                self.tasks.pop(idle or next(iter(self.tasks))).stop()
            transcript = next((t for glob, t in self._transcripts.items() if fnmatchcase(id_, glob)), self._transcript)
            task = self.tasks[id_] = SimulatedTask(id_, transcript, self.speech, self._pace, self._waiters)
        return task

    def _respond(self, request: HttpRequest, connection: HttpConnection) -> None:
        if request.path.startswith(control.PREFIX):
            self._control(request, connection)
            return
        question = self.speech.understand(request)
        if question is None:
            self._refuse(connection, 404, error_body("no such path"))
        elif request.method != self.speech.method and question.want in (Want.STREAM, Want.SNAPSHOT):
            self._refuse(connection, 405, error_body(f"only {self.speech.method}"))
        elif self.token is not None and not self.speech.admits(request, self.token):
            self._refuse(connection, 401, error_body("invalid token"))
        elif question.want is Want.BATCH:
            self._answer_all(connection, question)
        elif not question.id or question.id not in self._known:
            unknown = self.speech.unknown(question.id)
            self._refuse(connection, unknown.status, unknown.body)
        else:
            self._answer(connection, self._task(question.id), question)

    def _control(self, request: HttpRequest, connection: HttpConnection) -> None:
        try:
            command = control.read_command(request)
            if command is not None:
                connection.reply(200, control.encode(self._obey(command)))
                return
            status, message = 404, f"no control {request.method} {request.path.removeprefix(control.PREFIX)}"
        except ValueError as exc:
            status, message = 422, str(exc)
        connection.reply(status, control.encode({"error": {"message": message}}))

    def _obey(self, command: control.Command) -> Json:
        match command:
            case control.ShowStats():
                return asdict(self.summary())
            case control.ShowTask(id=id_):
                return self._describe(id_)
            case control.AddFault(ids=glob, fault=fault):
                self.fault(glob, fault)
            case control.ClearFaults():
                self.clear_faults()
            case control.CutStreams(ids=glob, how=how):
                return {"cut": self.cut(glob, how)}
            case control.PushSnapshot(id=id_, snapshot=payload, last=last):
                self.push(id_, payload, last=last)
            case _:
                assert_never(command)
        return {"ok": True}

    def _describe(self, id_: str) -> Json:
        task = self.tasks.get(id_)
        return {
            "id": id_,
            "connections": task.connections if task else 0,
            "open_streams": len(task.streams) if task else 0,
            "moves": [asdict(move) for move in self.written(id_)],
        }

    def _refuse(self, connection: HttpConnection, status: int, body: bytes) -> None:
        self.outcomes[str(status)] += 1
        connection.reply(status, body)
        self._waiters.changed()

    def _answer_all(self, connection: HttpConnection, question: Question) -> None:
        """Answer about several tasks; what goes wrong is what would go wrong for the first of them."""
        known = [id_ for id_ in question.ids if id_ in self._known]
        if known:
            self._answer(connection, self._task(known[0]), replace(question, ids=tuple(known)))
        else:
            self.outcomes[Want.BATCH.value] += 1
            connection.reply(200, self.speech.together({}).body)
            self._waiters.changed()

    def _answer(self, connection: HttpConnection, task: SimulatedTask, question: Question) -> None:
        task.connections += 1
        plan = self._rules.plan(task)
        self.outcomes.update(plan.names)
        self._waiters.changed()
        begin = partial(self._begin, connection, task, plan, question)
        if not plan.delay:
            begin()
            return
        timer = asyncio.get_running_loop().call_later(plan.delay, begin)
        connection.on_lost = timer.cancel

    def _begin(self, connection: HttpConnection, task: SimulatedTask, plan: FaultPlan, question: Question) -> None:
        connection.on_lost = None
        match plan.answer:
            case Hangup():
                connection.close()
            case Answer() as answer:
                body = answer.body
                if body is None:
                    body = self.speech.reply(task.id, task.poll()).body
                connection.reply(answer.status, body, content_type=answer.content_type, headers=answer.headers)
            case None if question.want is Want.STREAM:
                self._stream(connection, task, plan, question.after)
            case None:
                self.outcomes[question.want.value] += 1
                reply = self._reply(task, question)
                connection.reply(reply.status, reply.body)
        self._waiters.changed()

    def _reply(self, task: SimulatedTask, question: Question) -> SpeechReply:
        match question.want:
            case Want.RESULT:
                return self.speech.result(task.id, task.current or b"{}")
            case Want.BATCH:
                return self.speech.together({id_: self._task(id_).poll() for id_ in question.ids})
            case _:
                return self.speech.reply(task.id, task.poll())

    def _stream(
        self, connection: HttpConnection, task: SimulatedTask, plan: FaultPlan, after: int | None = None
    ) -> None:
        if self._pace.restart:
            task.rewind()
        stream = self._new_stream(connection, task, plan, after)
        self.outcomes["stream"] += 1
        self.connects += 1
        self.peak_streams = max(self.peak_streams, len(self._streams) + 1)
        stream.open()

    def _new_stream(
        self, connection: HttpConnection, task: SimulatedTask, plan: FaultPlan, after: int | None
    ) -> SimulatedStream:
        """Make a stream; a recorder makes one of its own kind."""
        return SimulatedStream(connection, task, plan, self.framing, among=self._streams, after=after)


def _say(text: str) -> None:
    print(text, flush=True)  # whoever reads a pipe waits for it


async def serve(simulator: Simulator, *, announce: Callable[[str], None] = _say) -> SimulatorSummary:
    """Run it as a command until SIGINT or SIGTERM; return what it did. Raises OSError if the address is taken."""
    raise_descriptor_limit()
    async with simulator:
        announce(simulator.speech.introduction(simulator.base_url, simulator.token or "any"))
        await until_stopped()
        return simulator.summary()
