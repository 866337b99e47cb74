"""Reads the configuration in threads, so that a read that hangs blocks neither the event loop nor later reads.

A file may be on a server that is gone, or be a FIFO that nobody writes to. Its reader cannot be interrupted.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from notifier.config import Config, Reading, load
from notifier.core.errors import NotifierError
from notifier.runtime.threads import NoThread, beside

PATIENCE = 2.0  # seconds that a read waits for earlier ones, which may hang
MAX_READS = 4  # at a time: each read that hangs keeps a thread
LIMIT = 300.0  # seconds of a read, after which nobody waits for it any more


class ReadAbandoned(NotifierError):
    """Nobody waits for the configuration any more."""


class ReadHangs(NotifierError):
    """The configuration cannot be read, since its files do not answer."""


class ConfigReader:
    """Reads one configuration file, and the files that it names."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reads: set[asyncio.Future[Config]] = set()  # under way; those that hang stay here

    async def turn(self, end: asyncio.Future[None]) -> None:
        """Wait until earlier reads are done, or hang, or until `end` is done. Raises ReadHangs if too many hang."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self._reads and not end.done():
            left = began + (PATIENCE if len(self._reads) < MAX_READS else LIMIT) - loop.time()
            if left <= 0:
                break
            either: set[asyncio.Future[Any]] = {*self._reads, end}
            await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if len(self._reads) >= MAX_READS:
            raise ReadHangs(
                f"{self._path}: {MAX_READS} reloads wait for files that do not answer; is one of them a FIFO, or on a "
                "file server that is gone? The daemon reads again once one of them ends"
            )

    async def read(self, *ends: asyncio.Future[None], before: Reading) -> Config:
        """Return the configuration; `before` is the reading of the one in force.

        Raises ConfigError, ReadHangs, and ReadAbandoned once one of `ends` is done.
        """
        read = beside(lambda: load(self._path, before=before), name="load the configuration")
        self._reads.add(read)
        read.add_done_callback(self._done)
        either: set[asyncio.Future[Any]] = {read, *ends}
        await asyncio.wait(either, timeout=LIMIT, return_when=asyncio.FIRST_COMPLETED)
        if read.done():
            try:
                return read.result()
            except NoThread as exc:
                raise ReadHangs(f"{self._path}: not read, since {exc.strerror}") from exc
        if any(end.done() for end in ends):
            raise ReadAbandoned
        raise ReadHangs(f"{self._path}: not read within {LIMIT:g} s; is a file of it on a file server that is gone?")

    def _done(self, read: asyncio.Future[Config]) -> None:
        self._reads.discard(read)
        if not read.cancelled():
            read.exception()  # nobody may wait for it any more
