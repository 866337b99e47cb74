"""One short run of one daemon on SQLite, whose upstream and receiver do what daemons find hard; then the verdict.

It has a refusing receiver, a reload, a SIGKILL with deliveries under way, streams that end and begin with history, a
task that ends while nobody listens, a stream that hangs until the deadline, an upstream that is away when the deadline
passes, a fault beside a state, a state that nobody knows, and a task that goes on after its end.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chaos.receiver import Receiver
from chaos.scribe import Scribe
from chaos.upstream import Upstream
from daemon_process import PYTHON, SECRET, Daemon, Fields, config, webhook
from waits import measured_lag, until

from judge import EndpointTerms, Finding, Terms, judge

STREAMS = [f"t{number}" for number in range(8)]
FORGETFUL = STREAMS[:3]  # begin each stream with history
OTHERS = ["warm", "faulty", "undead"]
BRIEF, LATE = "brief", "late"  # their source has a deadline
WAITS = (0.0, *[0.8] * 100)  # seconds before the attempts of a message
PATIENT = 15.0  # seconds of an attempt
DEADLINE = 6.0
AWAY = 3.0  # seconds behind the deadline; a daemon asks an upstream that is away for five


class Scene:
    """The run's parts, and its steps."""

    def __init__(self, scribe: Scribe, upstream: Upstream, receiver: Receiver, daemon: Daemon, patience: float) -> None:
        """Wait for nothing any more once nothing has happened for `patience` seconds."""
        self.patience = patience
        self.scribe = scribe
        self.upstream = upstream
        self.receiver = receiver
        self.daemon = daemon
        self._states: dict[str, int] = {}

    def settings(self, streams: int = 100) -> Fields:
        """Make the configuration; how many streams may be open is what the reload changes."""
        base, out = (f"http://127.0.0.1:{each.port}" for each in (self.upstream, self.receiver))
        waits = [f"{wait:g}s" for wait in WAITS]
        vidu = {"failure_if_present": ["fault"], "max_streams": streams, "default": True, "idle_timeout": "60s"}
        made = config(
            upstream=base,
            endpoints={"app": webhook(f"{out}/app", retry_schedule=waits, timeout=f"{PATIENT:g}s")},
            watches=[*STREAMS, *OTHERS, *({"id": id_, "source": "brief"} for id_ in (BRIEF, LATE))],
            vidu=vidu,
        )
        made["sources"]["brief"] = {**made["sources"]["vidu"], "default": False, "deadline": f"{DEADLINE:g}s"}
        if self.daemon.settings:
            made["http"] = self.daemon.settings["http"]
        return made

    async def start(self) -> None:
        """Start the daemon; return once it follows every task that goes on."""
        self.scribe.did("start", "a")
        await self.daemon.start()
        going = [task for task in self.upstream.tasks.values() if not task.ended]
        await self.come(lambda: all(task.streams for task in going), "all are followed")

    async def kill(self) -> None:
        """Kill it."""
        await self.daemon.kill()
        self.scribe.did("kill", "a")

    async def reload(self) -> None:
        """Let it read another number of streams."""
        self.daemon.write(self.settings(streams=90))
        at = self.scribe.now()
        assert (await self.daemon.post("/v1/reload"))[0] == 200
        self.scribe.did("reload", "a", at=at, until=self.scribe.now())

    async def moves(self, rounds: int) -> None:
        """Move every stream so many times, each time to another state."""
        for _ in range(rounds):
            for id_ in STREAMS:
                turn = self._states[id_] = self._states.get(id_, 0) + 1
                self.upstream.move(id_, ("queueing", "processing", "scheduling")[turn % 3])
            await asyncio.sleep(0.02)

    async def heard(self, count: int) -> None:
        """Return when so many more callbacks have come, or when no more seem to come."""
        wanted, quiet = self.receiver.count + count, _Quiet(self.scribe, min(2.0, self.patience))
        await until(lambda: self.receiver.count >= wanted or quiet(), "callbacks come")

    async def come(self, holds: Callable[[], bool], what: str) -> None:
        """Return when something holds, or when nothing happens any more: a bug may keep it from being."""
        quiet = _Quiet(self.scribe, self.patience)
        await until(lambda: holds() or quiet(), what)

    def left(self) -> bool:
        """Return whether anything is not settled."""
        open_ = (
            "SELECT 1 FROM deliveries WHERE status IN ('ready', 'waiting') UNION SELECT 1 FROM watches WHERE NOT ended"
        )
        return bool(self.daemon.rows(open_))

    def has_ended(self, id_: str) -> bool:
        """Return whether a task has, as far as the daemon knows."""
        return bool(self.daemon.rows(f"SELECT 1 FROM watches WHERE id = '{id_}' AND ended"))

    def leave(self, id_: str) -> None:
        """Let the upstream be away for a task until its deadline is over, and then be back with its end."""
        [(created,)] = self.daemon.rows(f"SELECT created_at FROM watches WHERE id = '{id_}'")
        task = self.upstream.tasks[id_]
        task.away_until, task.back = created / 1e6 + DEADLINE + AWAY, "success"
        self.upstream.cut(id_, "close")


class _Quiet:
    """Tells whether nothing was noted for some seconds, or only the same again and again for several times as long."""

    def __init__(self, scribe: Scribe, seconds: float) -> None:
        self._scribe, self._seconds = scribe, seconds
        self._count, self._since = len(scribe.entries), time.monotonic()
        self._end = self._since + seconds * 4

    def __call__(self) -> bool:
        if len(self._scribe.entries) != self._count:
            self._count, self._since = len(self._scribe.entries), time.monotonic()
        return time.monotonic() > min(self._since + self._seconds, self._end)


async def play(scene: Scene) -> None:
    """Play the run; it ends when all is settled, or when nothing happens any more."""
    upstream, manners = scene.upstream, scene.receiver.manners
    for id_ in (*STREAMS, *OTHERS):
        upstream.task(id_, repeats=id_ in FORGETFUL)
    upstream.task(BRIEF, source="brief").trap = "success"  # which nobody hears before the deadline
    upstream.task(LATE, source="brief")
    for id_ in (*OTHERS, BRIEF, LATE):
        upstream.move(id_, "queueing")
    manners.refuse, manners.cut, manners.slow = 200, 60, 50
    await scene.start()
    scene.leave(LATE)
    await scene.moves(3)
    upstream.move("warm", "warming")
    await scene.heard(20)
    await scene.reload()
    await scene.moves(2)
    await scene.come(lambda: scene.has_ended(BRIEF), "the last look at a task with a deadline")
    await scene.come(lambda: scene.has_ended(LATE), "the last look at another one")
    for id_ in FORGETFUL:
        upstream.cut(id_, "close")
    await scene.come(lambda: all(upstream.tasks[id_].streams for id_ in FORGETFUL), "they are connected anew")
    manners.refuse = 600
    await scene.moves(2)
    await scene.heard(12)
    await scene.kill()
    manners.refuse = 100
    await scene.start()
    await scene.moves(1)
    await _end(scene)
    await scene.come(lambda: not scene.left(), "all is settled")


async def _end(scene: Scene) -> None:
    """Let every task end: some while nobody listens, one by a fault beside its state, one not for good."""
    upstream = scene.upstream
    for number, id_ in enumerate(STREAMS):
        if number % 2:
            upstream.cut(id_, "close")
        upstream.move(id_, ("success", "failed", "canceled")[number % 3])
    upstream.move("warm", "success")
    upstream.move("faulty", "processing")
    upstream.move("faulty", "processing", fault="it broke")
    upstream.move("undead", "success")
    await scene.heard(10)
    upstream.move("undead", "processing")
    await asyncio.sleep(0.5)  # for a stream that must not come
    upstream.move("undead", "success")


@asynccontextmanager
async def staged(directory: Path, server: socket.socket | None, *, seed: int, patience: float) -> AsyncIterator[Scene]:
    """Build the parts; `server` starts the daemon by fork."""
    scribe = Scribe()
    daemon = Daemon(directory, {}, env=dict(os.environ), python=PYTHON, server=server)
    try:
        ears = Receiver(scribe, SECRET, random.Random(seed), timeout=PATIENT)
        async with Upstream(scribe) as upstream, ears as receiver:
            scene = Scene(scribe, upstream, receiver, daemon, patience)
            daemon.write(scene.settings())
            yield scene
    finally:
        await daemon.kill()


async def perform(directory: Path, server: socket.socket | None, *, seed: int, patience: float) -> list[Finding]:
    """Make the run and return the verdict."""
    async with staged(directory, server, seed=seed, patience=patience) as scene, measured_lag() as lag:
        await play(scene)
        await scene.daemon.stop()
        scene.scribe.did("stop", "a", clean=True)
        return judge(scene.scribe.entries, directory / "notifier.db", terms(slack=0.02 + lag()))


def terms(**more: Any) -> Terms:
    """Return what is agreed for the run."""
    endpoints, lost = {"app": EndpointTerms(schedule=WAITS)}, frozenset({f"brief/{BRIEF}"})
    return Terms(endpoints=endpoints, lost=lost, deadlines={"brief": DEADLINE}, **more)
