"""Where the daemon meets time, chance, threads and the network: for a run, the simulation's take their place.

The program pays nothing for this. Every global name in its modules that stands for one of the real things is replaced,
wherever it was imported to, so that none escapes; afterwards all is as it was.
"""

from __future__ import annotations

import random
import secrets
import sqlite3
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import Any, Self

import aiohappyeyeballs
import structlog
from structlog.typing import EventDict

import notifier.daemon.app
import notifier.web.api  # noqa: F401  the parts that a run uses are loaded before their names are replaced
from notifier.runtime import logs, threads
from notifier.runtime.http1 import names
from notifier.store import database
from notifier.store.connection import Connection, Engine
from simulation.loop import Agenda, InlineThread, beside
from simulation.scene import Scene
from simulation.wires import Network

_LOGGER = type(structlog.get_logger())


class Clocks:
    """Stands for the module `time`."""

    CLOCK_BOOTTIME = time.CLOCK_BOOTTIME
    CLOCK_MONOTONIC = time.CLOCK_MONOTONIC

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda

    def time(self) -> float:
        """Return the date in seconds."""
        return self._agenda.date / 1e6

    def time_ns(self) -> int:
        """Return the date in nanoseconds."""
        return self._agenda.date * 1000

    def monotonic(self) -> float:
        """Return the seconds of a clock that nobody sets."""
        return self._agenda.now

    perf_counter = monotonic

    def clock_gettime(self, _clock: int) -> float:
        """Return the same, which runs on while the machine sleeps."""
        return self._agenda.now

    def clock_gettime_ns(self, _clock: int) -> int:
        """Return the same in nanoseconds."""
        return self._agenda.uptime * 1000


class Disk:
    """The disk of the database: while it is full, no transaction can be written."""

    def __init__(self, scene: Scene, rng: Random) -> None:
        self.full = False
        self._scene = scene
        self._rng = rng

    def watch(self, opened: database.Database) -> None:
        """Have this disk under a database."""
        engine = opened.writing
        engine.connect = lambda: _OnDisk(engine, self)  # type: ignore[method-assign]

    def write(self, share: float) -> None:
        """Write as much of a transaction. Raises sqlite3.OperationalError while the disk is full."""
        if self.full and not self._scene.muted and self._rng.random() < share:
            raise sqlite3.OperationalError("database or disk is full")


class _OnDisk(Connection):
    """A connection whose transactions need room on a disk."""

    def __init__(self, engine: Engine, disk: Disk) -> None:
        super().__init__(engine)
        self._disk = disk

    @contextmanager
    def begin(self) -> Iterator[Self]:
        """Write as the block begins, and before it is committed."""
        self._disk.write(0.5)
        with super().begin():
            yield self
            self._disk.write(1.0)


class Opened:
    """The databases that the process has open, which end with it."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._open: list[database.Database] = []
        self._real_open, self._real_close = database.open_database, database.Database.close

    def open(self, url: str, **more: Any) -> database.Database:
        """Stand for `store.database.open_database`."""
        opened = self._real_open(url, **more)
        self._open.append(opened)
        self._disk.watch(opened)
        return opened

    def close(self, opened: database.Database) -> None:
        """Stand for `Database.close`."""
        if opened in self._open:
            self._open.remove(opened)
            self._real_close(opened)

    def close_all(self) -> None:
        """Close what the process has left open."""
        for opened in list(self._open):
            self.close(opened)


@contextmanager
def replaced(scene: Scene, network: Network, disk: Disk) -> Iterator[Opened]:
    """Put the simulation in the place of the real things, until the end of the block."""
    clocks, chance, opened = Clocks(scene.agenda), scene.rng("secrets"), Opened(disk)
    drawn = SimpleNamespace(
        token_bytes=chance.randbytes, randbits=chance.getrandbits, token_hex=lambda size: chance.randbytes(size).hex()
    )
    stands: list[tuple[object, object]] = [
        (time, clocks),
        (time.time, clocks.time),
        (time.monotonic, clocks.monotonic),
        (time.perf_counter, clocks.monotonic),
        (secrets, drawn),
        (uuid, SimpleNamespace(uuid4=lambda: uuid.UUID(int=chance.getrandbits(128), version=4))),
        (threads.beside, beside),
        (threads.OneThread, InlineThread),
        (aiohappyeyeballs, network),
        (names.look_up, network.look_up),
        (database.open_database, opened.open),
        (logs.configure, lambda **_: None),
    ]
    undo: list[Callable[[], None]] = []
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "notifier" and module is not None:
            undo += _replace(vars(module), stands)
    state = random.getstate()
    random.seed(f"{scene.seed} chance")
    closing = database.Database.close
    database.Database.close = lambda self: opened.close(self)  # type: ignore[method-assign]
    before = structlog.get_config()
    structlog.configure(processors=[_listener(scene)], cache_logger_on_first_use=False)
    try:
        yield opened
    finally:
        structlog.configure(**before)
        database.Database.close = closing  # type: ignore[method-assign]
        random.setstate(state)
        for call in reversed(undo):
            call()


def _replace(names: dict[str, Any], stands: list[tuple[object, object]]) -> Iterator[Callable[[], None]]:
    """Replace the values of a module's names; yield what undoes it."""
    for name, value in list(names.items()):
        if isinstance(value, _LOGGER):  # one that was used before the run may be bound for good
            names[name] = structlog.get_logger()
            yield lambda name=name, value=value: names.__setitem__(name, value)  # type: ignore[misc]
        for real, stand in stands:
            if value is real:
                names[name] = stand
                yield lambda name=name, real=real: names.__setitem__(name, real)  # type: ignore[misc]


def _listener(scene: Scene) -> Callable[[Any, str, EventDict], EventDict]:
    """Return what takes the log: it is part of the trace, and an exception in it is a fault."""

    def listen(_logger: Any, method: str, said: EventDict) -> EventDict:
        scene.note(f"{scene.agenda.now:.6f} log {method} {said.get('event')}\n")
        if "exc_info" in said:
            fault = said["exc_info"]
            fault = sys.exc_info()[1] if fault is True else fault
            scene.faults.append(f"{said['event']}: {fault!r}")
        raise structlog.DropEvent

    return listen
