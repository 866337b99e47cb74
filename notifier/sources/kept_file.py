"""A file that appears whole or not at all: written under another name, flushed to the disk, then renamed.

Every call blocks only a thread of its own: the disk may be a file server that is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from functools import partial
from pathlib import Path
from typing import Protocol

from notifier.runtime.threads import beside, surely

STALE = 86_400.0  # seconds after which the rest of a file that a killed process began is removed


class NotKept(Exception):
    """A place does not take a file."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing  # another try may succeed


class Kept(Protocol):
    """A file to be written, in a directory or in a bucket. Its methods raise OSError, and `finish` also NotKept."""

    @property
    def url(self) -> str:
        """Return where it is, once it is finished."""
        ...

    async def open(self) -> None:
        """Begin."""
        ...

    async def write(self, data: bytes) -> None:
        """Write on."""
        ...

    async def finish(self) -> None:
        """Have it appear, whole and safe."""
        ...

    async def discard(self) -> None:
        """Remove what was written, unless it was finished."""
        ...


class KeptFile:
    """One file to be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._descriptor: int | None = None

    @property
    def url(self) -> str:
        """Return where it is, once it is finished."""
        return self._path.as_uri()

    async def open(self) -> None:
        """Create the directory and the file. Raises OSError."""
        created = beside(self._create, name="archive open")
        try:
            self._descriptor = await asyncio.shield(created)
        except asyncio.CancelledError:
            created.add_done_callback(self._abandon)
            raise

    async def write(self, data: bytes) -> None:
        """Write on. Raises OSError."""
        assert self._descriptor is not None
        await beside(partial(_write_all, self._descriptor, data), name="archive write")

    async def finish(self) -> None:
        """Give the file its name; it survives a loss of power. Raises OSError."""
        await beside(self._publish, name="archive finish")

    async def discard(self) -> None:
        """Remove what was written, unless it was finished."""
        if self._descriptor is not None:
            await surely(self._remove, name="archive discard")

    def _abandon(self, created: asyncio.Future[int]) -> None:
        """Remove a file that was created after its writer had been cancelled."""
        if not created.cancelled() and created.exception() is None:
            self._descriptor = created.result()
            surely(self._remove, name="archive discard")

    def _create(self) -> int:
        directory = self._path.parent
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        for left in directory.glob(".*.part"):
            with contextlib.suppress(OSError):
                if left.stat().st_mtime < time.time() - STALE:
                    left.unlink()
        return os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)

    def _publish(self) -> None:
        assert self._descriptor is not None
        os.fsync(self._descriptor)
        os.replace(self._part, self._path)
        descriptor, self._descriptor = self._descriptor, None
        os.close(descriptor)
        for directory in (self._path.parent, self._path.parent.parent):  # both may be new
            handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _remove(self) -> None:
        assert self._descriptor is not None
        descriptor, self._descriptor = self._descriptor, None
        with contextlib.suppress(OSError):
            os.close(descriptor)
        with contextlib.suppress(OSError):
            self._part.unlink()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
