"""Reloads when the files of the configuration have changed (`reload_on_change`).

Files are compared by their contents. The kernel reports when to compare them (`inotify.py`); since it reports nothing
on network file systems, they are also compared every few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from notifier.config import Problem, Reading, Stamp
from notifier.daemon.inotify import ChangeListener, Directories, directories
from notifier.daemon.reload import Reloader
from notifier.runtime.threads import beside
from notifier.runtime.wake import Wake
from notifier.store import Store

log = structlog.get_logger(__name__)

LOOK_AGAIN = 5.0  # seconds between looks without a hint
SOON = 0.5  # seconds to the next look after the watched directories changed: the new thread has begun by then
QUIET = 0.4  # seconds without a change after which a file counts as completely written
DOUBT = 2.0  # seconds that a file is unreadable, missing or empty before that counts: it may be half written
LONGEST = 10.0  # seconds of waiting for quiet: a file that changes all the time is then read as it is
STEP = 0.1  # seconds between looks while waiting for quiet

Stamps = Mapping[Path, Stamp | None]


class FileFollower:
    """Follows the files of the latest configuration, whether it is in force or was refused."""

    def __init__(self, *, reloader: Reloader, wake: Wake, store: Store) -> None:
        """Look at once when `wake` is set. While `store` is away no reload can succeed."""
        self._reloader = reloader
        self._store = store
        self._wake = wake
        self._listener = ChangeListener(wake)
        self._reading: Reading | None = None
        self._unchanged: Stamps | None = None  # of the files when their contents last equalled `_reading`
        self._since = 0.0  # loop time of the last change
        self._unannounced: tuple[Reading, Sequence[Problem]] | None = None  # a refusal; a file may be half written

    async def run(self) -> None:
        """Follow while the configuration says so, until cancelled."""
        try:
            while True:
                await self._wake.wait(await self._turn())
        finally:
            await self._listener.stop()

    async def _turn(self) -> float | None:
        """Look once; return the seconds to the next look, or None to wait for the next reload."""
        if not self._reloader.config.reload_on_change:
            self._reading = self._unannounced = None
            self._listener.watch({})
            return None
        try:
            pause, changed = await self._look()
        except Exception:
            log.exception("follow.failed", hint="the files are compared again soon; please report this")
            return LOOK_AGAIN
        if changed and self._store.available:  # otherwise the next look finds the same changes
            await self._attempt(changed)
        return min(pause, self._doubt())

    async def _look(self) -> tuple[float, list[str]]:
        """Look; return the seconds to the next look, and the files that have changed."""
        reading = self._reloader.reading
        if reading is not self._reading:
            self._reading, self._unchanged = reading, None
        stamps, watched = await beside(lambda: _survey(reading), name="look at files")
        pause = SOON if self._listener.watch(watched) else LOOK_AGAIN
        return pause, [] if stamps == self._unchanged else await self._compare(reading, stamps)

    async def _compare(self, reading: Reading, stamps: Stamps) -> list[str]:
        stamps = await self._quiet(reading, stamps)
        now = await beside(reading.now, name="read files")
        self._since = asyncio.get_running_loop().time()
        if reading is not self._reloader.reading:
            return []  # there was a reload meanwhile: the next look compares with the files that it read
        if now == reading.files:
            self._unchanged = stamps
        both = now.keys() | reading.files.keys()
        return sorted(str(path) for path in both if now.get(path) != reading.files.get(path))

    async def _attempt(self, changed: list[str]) -> None:
        log.info("files.changed", files=changed)
        before = self._reloader.reading
        problems = await self._reloader.attempt()
        reading = self._reloader.reading
        self._unannounced = (reading, problems) if problems and reading is not before else None

    async def _quiet(self, reading: Reading, stamps: Stamps) -> Stamps:
        """Return the stamps once they have been the same for a while."""
        loop = asyncio.get_running_loop()
        since = loop.time()
        end = since + LONGEST
        lost: dict[Path, float] = {}  # since when each has been missing or empty
        while True:
            missing = await beside(self._lost, name="look for lost files")
            now = loop.time()
            lost = {path: lost.get(path, now) for path in missing}
            due = max(min(end, since + QUIET), *(began + DOUBT for began in lost.values()), 0.0)
            if now >= due:
                return stamps
            await asyncio.sleep(min(STEP, due - now))
            again = await beside(reading.stamps, name="look at files")
            if again != stamps:
                stamps, since = again, loop.time()

    def _lost(self) -> set[Path]:
        """Return the lost files of the last reading, and of that in force: a refused one may not have come to them."""
        last, in_force = self._reloader.reading, self._reloader.config.reading
        return last.lost() if last is in_force else last.lost() | in_force.lost()

    def _doubt(self) -> float:
        """Announce a refusal once the files have not changed for a while; return the seconds until then."""
        if self._unannounced is None:
            return LOOK_AGAIN
        reading, problems = self._unannounced
        left = self._since + DOUBT - asyncio.get_running_loop().time()
        if left > 0:
            return left
        self._unannounced = None
        if reading is self._reloader.reading and not self._reloader.stopping:  # no other reload has read them since
            self._reloader.refuse(problems)
        return LOOK_AGAIN


def _survey(reading: Reading) -> tuple[Stamps, Directories]:
    return reading.stamps(), directories([reading.path, *reading.files], reading.path.parent, reading.patterns)
