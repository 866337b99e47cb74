"""A file that appears whole or not at all: written under another name, flushed to the disk, then renamed.

Every call blocks only a thread of its own: the disk may be a file server that is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from notifier.runtime.threads import beside, surely

STALE = 86_400.0  # seconds after which the rest of a file that a killed process began is removed


_PASSING = frozenset({errno.EAGAIN, errno.ENOSPC, errno.EDQUOT})  # errors of the disk, or no thread to write to it


class NotKept(Exception):
    """A place does not take a file."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing  # another try may succeed


def not_kept(what: str, exc: OSError) -> NotKept:
    """Return what a fault of the system means, on one line and without a path."""
    reason = (exc.strerror or type(exc).__name__).lower()
    line = " ".join("".join(char if char.isprintable() else " " for char in reason).split())
    return NotKept(f"{what}: {line}", passing=exc.errno in _PASSING)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Do one step of keeping a file; `what` it means when it fails. Raises NotKept."""
    try:
        yield
    except OSError as exc:
        raise not_kept(what, exc) from exc


@dataclass(frozen=True, slots=True)
class Directory:
    """A place for files; `kept_object` has the other one."""

    path: Path

    def file(self, name: str) -> KeptFile:
        """Return a file to be written; its name may have slashes."""
        return KeptFile(self.path / name)


class KeptFile:
    """One file to be written. Its methods raise NotKept, or OSError without a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._descriptor: int | None = None

    @property
    def url(self) -> str:
        """Return where it is, once it is finished."""
        return self._path.as_uri()

    async def open(self) -> None:
        """Create the directory and the file. Raises NotKept."""
        created = beside(self._create, name="archive open")
        try:
            self._descriptor = await asyncio.shield(created)
        except asyncio.CancelledError:
            created.add_done_callback(self._abandon)
            raise

    async def write(self, data: bytes) -> None:
        """Write on. Raises NotKept."""
        assert self._descriptor is not None
        await beside(partial(_write_all, self._descriptor, data), name="archive write")

    async def finish(self) -> None:
        """Give the file its name; it survives a loss of power. Raises NotKept."""
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
        with step("its directory cannot be created"):
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        with step("its directory cannot be read"):
            rests = list(directory.glob(".*.part"))
        with step("it cannot be created"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._part, flags, 0o640)
        for left in rests:
            with contextlib.suppress(OSError):  # it is tried again with the next file
                # By the clock of the file system, which may be a file server's.
                if left.stat().st_mtime < os.fstat(descriptor).st_mtime - STALE:
                    left.unlink()
        return descriptor

    def _publish(self) -> None:
        assert self._descriptor is not None
        with step("it cannot be flushed to the disk"):
            os.fsync(self._descriptor)
        with step("it cannot be given its name"):
            os.replace(self._part, self._path)
        descriptor, self._descriptor = self._descriptor, None
        with step("it cannot be closed"):
            os.close(descriptor)
        for directory in (self._path.parent, self._path.parent.parent):  # both may be new
            with step("its directory cannot be flushed to the disk"):
                _flush(directory)

    def _remove(self) -> None:
        assert self._descriptor is not None
        descriptor, self._descriptor = self._descriptor, None
        with contextlib.suppress(OSError):
            os.close(descriptor)
        with contextlib.suppress(OSError):
            self._part.unlink()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    with step("it cannot be written"):
        while view:
            view = view[os.write(descriptor, view) :]


def _flush(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
