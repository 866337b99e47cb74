"""Reloads when the files that the configuration was read from are no longer what they were (`reload_on_change`).

What was read is compared by its contents; that something may have changed is told by the kernel (see notices.py) and,
where it does not tell (network file systems), found by looking every few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from notifier.config import Reading
from notifier.config.reading import Stamp
from notifier.daemon.inotify import Notices, Places, places
from notifier.daemon.reload import Reloading
from notifier.runtime.threads import beside

log = structlog.get_logger(__name__)

LOOK_AGAIN = 5.0  # seconds between looks that nobody asked for
SOON = 0.5  # seconds to the next look after the places that are listened at changed: by then somebody listens there
QUIET = 0.4  # seconds without a change, after which a file is taken to be written to its end
DOUBT = 2.0  # the same for a file that cannot be read, or is gone or empty and was not: it may be half written
LONGEST = 10.0  # seconds of waiting for quiet: a file that is written all the time is read as it is
STEP = 0.1  # seconds between looks while waiting for quiet

Stamps = Mapping[Path, Stamp | None]


class Follower:
    """Follows the files of the configuration in force, and of one that was refused."""

    def __init__(self, *, reloading: Reloading, can_reload: Callable[[], bool]) -> None:
        """Take `can_reload`, which says whether a reload has a chance now, whatever the files say."""
        self._reloading = reloading
        self._can_reload = can_reload
        self._stir = asyncio.Event()
        self._notices = Notices(self._stir.set)
        self._reading: Reading | None = None
        self._same: Stamps | None = None  # of the files when their contents were last found to be what was read
        self._since = 0.0  # loop time since which nothing has changed
        self._untold: tuple[Reading, Sequence[str]] | None = None  # a refusal that may be of something half written
        reloading.tried = self._stir.set

    async def run(self) -> None:
        """Follow while the configuration says so, until cancelled."""
        try:
            while True:
                self._stir.clear()
                await self._wait(await self._turn())
        finally:
            await self._notices.stop()

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stir.wait()
        except TimeoutError:
            return

    async def _turn(self) -> float | None:
        """Look once; return the seconds to the next look, None: when something is told."""
        if not self._reloading.config.reload_on_change:
            self._reading = self._untold = None
            self._notices.listen({})
            return None
        try:
            pause, changed = await self._look()
        except Exception:
            log.exception("follow.failed", hint="the files are looked at again; report it")
            return LOOK_AGAIN
        if changed and self._can_reload():  # if not, the next look finds the same
            await self._attempt(changed)
        return min(pause, self._doubt())

    async def _look(self) -> tuple[float, list[str]]:
        """Look; return the seconds to the next look, and the files that are not what they were."""
        reading = self._reloading.reading
        if reading is not self._reading:
            self._reading, self._same = reading, None
        stamps, where = await beside(lambda: _survey(reading), name="look at files")
        pause = SOON if self._notices.listen(where) else LOOK_AGAIN
        return pause, [] if stamps == self._same else await self._compare(reading, stamps)

    async def _compare(self, reading: Reading, stamps: Stamps) -> list[str]:
        stamps = await self._quiet(reading, stamps)
        now = await beside(reading.now, name="read files")
        self._since = asyncio.get_running_loop().time()
        if reading is not self._reloading.reading:
            return []  # somebody has reloaded meanwhile: the next look compares with what they read
        if now == reading.files:
            self._same = stamps
        both = now.keys() | reading.files.keys()
        return sorted(str(path) for path in both if now.get(path) != reading.files.get(path))

    async def _attempt(self, changed: list[str]) -> None:
        log.info("files.changed", files=changed)
        before = self._reloading.reading
        problems = await self._reloading.attempt(insist=False)
        tried = self._reloading.reading
        self._untold = (tried, problems) if problems and tried is not before else None

    async def _quiet(self, reading: Reading, stamps: Stamps) -> Stamps:
        """Return the stamps once they have been the same for a while."""
        loop = asyncio.get_running_loop()
        since = loop.time()
        end = since + LONGEST
        while True:
            due = min(end, since + (DOUBT if _lost(self._same, stamps) else QUIET))
            if (now := loop.time()) >= due:
                return stamps
            await asyncio.sleep(min(STEP, due - now))
            again = await beside(reading.stamps, name="look at files")
            if again != stamps:
                stamps, since = again, loop.time()

    def _doubt(self) -> float:
        """Tell of a refusal once nobody has touched the files for a while; return the seconds until then."""
        if self._untold is None:
            return LOOK_AGAIN
        reading, problems = self._untold
        left = self._since + DOUBT - asyncio.get_running_loop().time()
        if left > 0:
            return left
        self._untold = None
        if reading is self._reloading.reading and not self._reloading.stopping:  # or else somebody has tried since
            self._reloading.refuse(problems)
        return LOOK_AGAIN


def _survey(reading: Reading) -> tuple[Stamps, Places]:
    return reading.stamps(), places([reading.path, *reading.files], reading.path.parent, reading.patterns)


def _lost(before: Stamps | None, now: Stamps) -> bool:
    """Say whether a file that had contents is gone or empty."""
    for path, stamp in (before or {}).items():
        later = now.get(path)
        if stamp is not None and stamp.size and (later is None or not later.size):
            return True
    return False
