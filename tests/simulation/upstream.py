"""The upstream of a run: tasks that move by a script, told over streams and in answers to polls.

In a storm it breaks off, repeats itself, tells old states, answers with errors, pages and other tasks, or with nothing
at all. In calm it tells the truth. It records each snapshot that it says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from judge import Asked as AskedAbout
from judge import Said

from simulation.http import Asked, chunk, head, whole
from simulation.loop import Agenda
from simulation.scene import Scene
from simulation.wires import FAR, Line

PHASES = {
    "created": "queued",
    "queueing": "queued",
    "preparation": "queued",
    "processing": "running",
    "uploading": "running",  # of no preset: it counts as running
    "success": "succeeded",
    "failed": "failed",
    "canceled": "canceled",
}
ENDS = ("success", "failed", "canceled")
BUSY = 4  # of ten ways to misbehave: it asks to be left alone for a while
QUIET = 15.0  # seconds between comments on a stream
HINTS = {"1": 1.0, "3.5": 3.5, "soon": None, "-4": None, "20": 20.0}  # and the seconds that they mean
DATED = 5.0 - 1.0 - FAR  # seconds that are left of a date in five, which has whole seconds, when it has arrived
PAGE = b"<!doctype html><title>Bad gateway</title>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A snapshot that becomes true."""

    at: float
    state: str
    serial: int
    left: int  # seconds


@dataclass(slots=True, kw_only=True)
class Task:
    """A task of the upstream."""

    id: str
    moments: Sequence[Moment]

    def past(self, now: float) -> Sequence[Moment]:
        """Return what has been true; the last of it is true now."""
        return [moment for moment in self.moments if moment.at <= now]


class Upstream:
    """Tells of tasks."""

    def __init__(self, name: str, scene: Scene, rng: Random) -> None:
        self.name = name
        self.tasks: dict[str, Task] = {}
        self._scene = scene
        self._agenda: Agenda = scene.agenda
        self._rng = rng
        self._serial = 0

    def begin(self, task: str, *, length: float) -> None:
        """Begin a task that takes about `length` seconds."""
        at, moments = self._agenda.now + self._rng.uniform(-2.0, 5.0), []
        states = self._rng.choices(["queueing", "preparation", "processing", "uploading"], k=self._rng.randint(0, 5))
        for state in ["created", *states, self._rng.choice(ENDS)]:
            self._serial += 1
            moments.append(Moment(at=at, state=state, serial=self._serial, left=self._rng.randint(0, 99)))
            at += self._rng.expovariate((len(states) + 1) / length)
        self.tasks[task] = Task(id=task, moments=moments)

    def over(self) -> float:
        """Return when the last task has ended."""
        return max((task.moments[-1].at for task in self.tasks.values()), default=0.0)

    # -- what is asked

    def asked(self, request: Asked, line: Line) -> None:
        """Answer, after a while."""
        parts = urlsplit(request.target)
        streams = "id" in parse_qs(parts.query)
        id_ = parse_qs(parts.query)["id"][0] if streams else parts.path.rpartition("/")[2]
        at, task = self._agenda.now, self.tasks.get(id_)

        def noted(hint: float | None) -> None:
            now = self._agenda.now
            self._scene.record(AskedAbout(at=at, source=self.name, task=id_, answered=now, retry_after=hint))

        self._agenda.after(self._rng.expovariate(20.0), lambda: self._answer(task, line, streams, noted))

    def _answer(self, task: Task | None, line: Line, streams: bool, noted: Callable[[float | None], None]) -> None:
        rng = self._rng
        if self._scene.stormy and rng.random() < self._scene.trouble:
            what = rng.randrange(10)
            if what == BUSY:
                self._ask_to_wait(line, noted)
                return
            noted(None)
            if self._misbehaves(what, task, line, streams):
                return
        else:
            noted(None)
        past = [] if task is None else task.past(self._agenda.now)
        if task is None or not past:
            line.send(whole(404, b'{"error": {"message": "task not found"}}', {"content-type": "application/json"}))
        elif streams:
            Stream(self, self._scene, self._rng, task, line).begin()
        else:
            self._say_once(task, past[-1], line, self._scene.connection())

    def _ask_to_wait(self, line: Line, noted: Callable[[float | None], None]) -> None:
        hint = self._rng.choice([*list(HINTS)[:4], date := self._scene.date_in(5.0), "20"])
        seconds = DATED if hint is date else HINTS[hint]
        reply = whole(self._rng.choice([429, 503]), PAGE, {"retry-after": hint})
        line.send(reply, lambda arrived: noted(seconds if arrived else None))

    def _misbehaves(self, what: int, task: Task | None, line: Line, streams: bool) -> bool:
        """Answer with what is no snapshot; return whether an answer was given, if only by silence."""
        rng = self._rng
        json_type = {"content-type": "application/json"}
        match what:
            case 0:
                line.reset()
            case 1:
                line.close()
            case 2:
                pass  # for ever
            case 3:
                line.send(whole(200, PAGE, {"content-type": "text/html"}))
            case 5:
                line.send(whole(rng.choice([500, 502, 504, 401, 403, 418]), b"{}", json_type))
            case 6:
                line.send(whole(200, rng.choice([b"", b"{", b"[]", b"null", b'{"state": {}}']), json_type))
            case 7 if streams:
                line.send(whole(204, b""))
            case 7 | 8 if not streams:  # about another task
                line.send(
                    whole(200, json.dumps({"id": "another", "state": "failed", "serial": -1}).encode(), json_type)
                )
            case 8 if task is not None and task.past(self._agenda.now):  # one snapshot where a stream was expected
                connection = self._scene.connection()
                self._say_once(task, rng.choice(task.past(self._agenda.now)), line, connection)
                self.cut(task, connection)
            case 9:
                line.send(
                    head(200, {"content-length": "1000000", "content-type": "application/json"}) + b'{"state": "fa'
                )
                line.reset()
            case _:
                return False
        return True

    def _say_once(self, task: Task, moment: Moment, line: Line, connection: int) -> None:
        if self._scene.stormy and self._rng.random() < self._scene.trouble / 2:
            moment = self._rng.choice(task.past(self._agenda.now))  # by a copy that lags behind
        body = self.snapshot(task, moment)
        said = self.saying(task, moment, body, connection)
        line.send(whole(200, json.dumps(body).encode(), {"content-type": "application/json"}), said)

    def cut(self, task: Task, connection: int) -> None:
        """Record that a stream ends here, or hangs."""
        self._scene.did("cut", where="upstream", source=self.name, task=task.id, connection=connection)

    def snapshot(self, task: Task, moment: Moment) -> dict[str, Any]:
        """Return what is said of a moment."""
        return {"id": task.id, "state": moment.state, "serial": moment.serial, "estimated_time_left": moment.left}

    def saying(self, task: Task, moment: Moment, body: Any, connection: int) -> Callable[[bool], None]:
        """Return what records that a moment was said, once it is known whether that arrived."""
        at = self._agenda.now

        def said(complete: bool) -> None:
            self._scene.record(
                Said(
                    at=at,
                    source=self.name,
                    task=task.id,
                    connection=connection,
                    state=moment.state,
                    phase=PHASES[moment.state],
                    body=body,
                    complete=complete,
                )
            )

        return said


Fate = Literal["well", "close", "reset", "silence"]


class Stream:
    """One stream of snapshots."""

    def __init__(self, upstream: Upstream, scene: Scene, rng: Random, task: Task, line: Line) -> None:
        self._upstream = upstream
        self._scene = scene
        self._rng = rng
        self._task = task
        self._line = line
        self._connection = scene.connection()
        self._chunked = rng.random() < 0.5
        self._fate: Fate = "well"
        self._silent = False
        self._told = 0  # moments

    def begin(self) -> None:
        """Send the head and what is known."""
        headers = {"content-type": "text/event-stream"}
        self._line.send(head(200, headers | ({"transfer-encoding": "chunked"} if self._chunked else {})))
        if self._scene.stormy and self._rng.random() < self._scene.trouble:
            self._fate = self._rng.choice(["close", "reset", "silence"])
            self._scene.agenda.after(self._rng.expovariate(0.1), self._break)
        past = len(self._task.past(self._scene.agenda.now))
        replays = self._scene.stormy and self._rng.random() < self._scene.trouble
        self._told = self._rng.randrange(past) if replays else past - 1  # old news come first
        self._go_on()
        self._scene.agenda.after(QUIET, self._comment)

    def _go_on(self) -> None:
        """Say what has become true; come back when there is more."""
        now = self._scene.agenda.now
        while not self._over and self._told < len(self._task.moments) and self._task.moments[self._told].at <= now:
            self._say(self._task.moments[self._told])
            self._told += 1
        if self._over:
            return
        if self._told < len(self._task.moments):
            self._scene.agenda.at(self._task.moments[self._told].at, self._go_on)
        elif self._rng.random() < 0.7:
            self._end()

    @property
    def _over(self) -> bool:
        return self._line.closed or self._silent

    def _say(self, moment: Moment) -> None:
        times = 2 if self._scene.stormy and self._rng.random() < 0.2 else 1
        for _ in range(times):
            body = self._upstream.snapshot(self._task, moment)
            data = b"data: %b\n\n" % json.dumps(body).encode()
            if self._scene.stormy and self._rng.random() < 0.1:
                data = self._rng.choice([b"data: {\n\n", b"data: null\n\n", b"event: noise\n", b": \xff\xfe\n"]) + data
            cut = self._rng.randrange(len(data)) if self._fate == "reset" and self._rng.random() < 0.2 else None
            said = self._upstream.saying(self._task, moment, body, self._connection)
            if cut is not None:
                self._send(data[:cut])
                self._upstream.cut(self._task, self._connection)
                self._line.reset()
                said(False)
                return
            self._send(data, said)

    def _send(self, data: bytes, told: Callable[[bool], None] = lambda _: None) -> None:
        if data:
            self._line.send(chunk(data) if self._chunked else data, told)

    def _comment(self) -> None:
        if not self._over:
            self._send(b": \n\n")
            self._scene.agenda.after(QUIET, self._comment)

    def _end(self) -> None:
        self._upstream.cut(self._task, self._connection)
        if self._chunked:
            self._line.send(b"0\r\n\r\n")
        self._line.close()

    def _break(self) -> None:
        if self._over:
            return
        self._upstream.cut(self._task, self._connection)
        match self._fate:
            case "close":
                self._line.close()
            case "reset":
                self._line.reset()
            case _:
                self._silent = True
