"""The lock file of a SQLite database: one daemon at a time, and a memory of the file that it used.

SQLite's log (`-wal`) belongs to the very file that it was written for. If another file is put in its place, such as a
backup that is restored, SQLite would apply the log to that one and damage it. So the lock file keeps which log belongs
to which file, and a log that belongs to another is set aside.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
from contextlib import suppress
from pathlib import Path

import structlog

from notifier.core.errors import StoreError

log = structlog.get_logger(__name__)

MODE = 0o600  # whoever can open it can hold the lock
LONGEST = 4096  # bytes of it that are read
_GENERATION = 0x80087601  # FS_IOC_GETVERSION (ioctl_iflags(2)): another file with the same inode number has another


class LockFile:
    """A held lock. It ends with `close`, or with the process."""

    def __init__(self, database: Path) -> None:
        """Take the lock. Raises StoreError."""
        self._database = database
        self._log = database.with_name(database.name + "-wal")
        self._file: list[int] | None = None
        self._index = database.with_name(database.name + "-shm")
        path = database.with_name(database.name + ".lock")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
        except OSError as exc:
            hint = "create it, or change store.url"
            raise StoreError(f"cannot write in {database.parent}: {exc.strerror}; {hint}") from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(PermissionError):  # another user's, who lets us write
                os.fchmod(self._fd, MODE)
        except OSError as exc:
            self.close()
            raise StoreError(f"{database} is in use by another notifier; stop it first, or change store.url") from exc

    def close(self) -> None:
        """Release the lock."""
        os.close(self._fd)

    def identify(self) -> None:
        """Read which file the database is now. To be called while this process has no connection to it."""
        self._file = _identity(self._database)

    def set_stale_log_aside(self) -> None:
        """Rename the log if it belongs to another file than the one that is there now.

        To be called while this process has no connection to the database.
        """
        before, belongs = self._read(), _inode(self._log)
        self.identify()
        if before is None or belongs is None or before["log"] != belongs or before["file"] == self._file:
            return
        aside = self._log.with_name(self._log.name + ".stale")
        os.replace(self._log, aside)
        self._index.unlink(missing_ok=True)
        log.warning("store.log_set_aside", file=str(aside), hint="it belongs to the database that was replaced")

    def note(self) -> None:
        """Keep which log belongs to the file."""
        data = json.dumps({"file": self._file, "log": _inode(self._log)}).encode()
        os.pwrite(self._fd, data, 0)
        os.ftruncate(self._fd, len(data))

    def _read(self) -> dict[str, list[int] | None] | None:
        try:
            before = json.loads(os.pread(self._fd, LONGEST, 0))
        except ValueError:  # there is none yet
            return None
        return before if isinstance(before, dict) and before.keys() == {"file", "log"} else None


def _inode(path: Path) -> list[int] | None:
    """Return the numbers that tell a file from every other that exists; None: there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_dev, status.st_ino]


def _identity(path: Path) -> list[int] | None:
    """Return the numbers that tell a file from every other that ever had its inode; None: there is no file.

    It opens the file, and to close it ends every lock that SQLite holds on it in this process (fcntl(2)).
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        generation = 0
        with suppress(OSError):  # not every file system has it
            (generation,) = struct.unpack_from("i", fcntl.ioctl(fd, _GENERATION, bytes(8)))
        return [status.st_dev, status.st_ino, generation]
    finally:
        os.close(fd)
