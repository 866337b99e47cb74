"""One process of the daemon: started from its file, run step by step, and ended by a stop or a crash.

A crash drops the loop and everything in it. The database stays as it was committed: its file and its log are put aside
in that very moment, and put back once what is left of the process has been cleared away out of the world's sight.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from notifier import config as configuration
from notifier.core.errors import StoreUnavailable
from notifier.daemon.app import Application
from notifier.web import Api
from simulation.loop import Agenda, Crash, Stuck, VirtualLoop
from simulation.scene import Scene
from simulation.seams import Disk, Opened
from simulation.wires import Network

CLEARING = 50_000  # steps in which what is left of a process has to end


class Process:
    """The daemon, between a start and its end."""

    def __init__(self, scene: Scene, network: Network, opened: Opened, path: Path, rng: Random) -> None:
        self._scene = scene
        self._network = network
        self._opened = opened
        self._path = path
        self._loop = VirtualLoop(scene.agenda, rng, scene.note)
        self._loop.dial = network.plug_in(self._loop)
        self.app = Application(path, configuration.load(path))

    @property
    def steps(self) -> int:
        """Return how many steps it has made."""
        return self._loop.steps

    @property
    def ready(self) -> bool:
        """Return whether it has started, and does not stop."""
        return self.app.parts is not None and self.app.ready() in (None, "the store cannot be written")

    def api(self) -> Api:
        """Return what answers its API, as `daemon.build` makes it."""
        parts = self.app.parts
        assert parts is not None
        return Api(
            store=parts.store,
            status=parts.report,
            hub=parts.hub,
            dispatcher=parts.dispatcher,
            watcher=parts.watcher,
            clock=parts.clock,
            in_force=parts.in_force,
            reload=parts.reloader.reload,
        )

    def ask(self, question: Coroutine[Any, Any, None], name: str) -> None:
        """Let an operator ask something of it."""
        task = self._loop.create_task(question, name=name)
        task.add_done_callback(self._answered)

    def crash_in(self, steps: int) -> None:
        """Let it crash after so many more steps."""
        self._loop.crash_at = self._loop.steps + steps

    def run(self, crash_at: int | None, database: Path, disk: Disk) -> bool:
        """Run to its end; return whether that was a stop. A start that finds the disk full is none."""
        self._loop.crash_at = crash_at
        main = self._loop.create_task(self.app.run(), name="main")
        main.add_done_callback(self._ended)
        try:
            self._loop.run_forever()
        except Crash:
            main.remove_done_callback(self._ended)
            kept = _files(database)
            self._network.process_died()
            self._clear()
            _put_back(database, kept)
            return False
        self._scene.faults += self._loop.faults
        fault, full = main.exception(), disk.full
        started = self.app.ready() != "starting"
        self._network.process_died()
        self._clear()
        if isinstance(fault, StoreUnavailable) and not started and full:
            return False  # systemd starts it again
        if fault is not None:
            self._scene.faults.append(f"the daemon ended: {fault!r}")
        return True

    def _ended(self, _main: asyncio.Task[None]) -> None:
        self._loop.stop()

    def _answered(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._scene.faults.append(f"{task.get_name()}: {fault!r}")

    def _clear(self) -> None:
        """Let go of everything, in a time and a chance of its own: the world neither sees it nor is changed by it."""
        loop, agenda, state = self._loop, self._scene.agenda, random.getstate()
        faults, self._scene.muted = list(self._scene.faults), True
        loop.agenda = Agenda()
        loop.agenda.now = agenda.now
        loop.crash_at = loop.steps + CLEARING
        try:
            for last in ({"main", "store"}, set[str]()):  # what is being saved waits for the store
                tasks = {task for task in asyncio.all_tasks(loop) if task.get_name() not in last}
                for task in tasks:
                    task.cancel()
                if tasks:
                    loop.run_until_complete(asyncio.wait(tasks))
        except (Crash, Stuck) as exc:
            faults.append(f"what was left of a process did not end: {exc!r}")
        self._opened.close_all()
        loop.close()
        self._scene.faults[:] = faults
        self._scene.muted = False
        random.setstate(state)


def count(database: Path, query: str) -> int:
    """Ask the database for a number."""
    return int(select(database, query)[0][0])


def select(database: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask the database for rows."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def _files(database: Path) -> dict[Path, bytes]:
    """Return what a crash leaves of a database."""
    log = database.with_name(database.name + "-wal")
    return {path: path.read_bytes() for path in (database, log) if path.exists()}


def _put_back(database: Path, kept: dict[Path, bytes]) -> None:
    for suffix in ("", "-wal", "-shm", ".lock"):  # the lock file knows files by their numbers, which these do not have
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    for path, data in kept.items():
        path.write_bytes(data)


Asking = Callable[[Process], Coroutine[Any, Any, None]]
