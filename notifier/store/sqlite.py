"""SQLite: its engine, its lock file, and the checks of a file before it is used."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from notifier.core.errors import StoreError, StoreTooNew
from notifier.store import migrations
from notifier.store.connection import Connection, Engine
from notifier.store.lock_file import LockFile

BUSY_TIMEOUT = 5000  # milliseconds that SQLite waits for another process's lock
CACHE_KIB = 4096  # SQLite's page cache, for each of two connections; the system caches the file too
STATEMENTS = 256  # that a connection keeps prepared: those of the hot path are one for each number of rows
CHECKPOINT_PAGES = 2000  # 8 MB of log before a checkpoint: fewer writes of the same hot pages
CHECK_LIMIT = 256 << 20  # bytes; to check a larger file at each start takes too long
ROOM = 1 << 20  # bytes that a disk must have room for: more than any request writes but a long list of watches
SPILLING = 16  # pages in the cache while room is proved: more of them go to the log before the commit
JOURNAL_LIMIT = 64 << 20  # bytes that the write-ahead log is cut back to

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another program holds it: close that",
    sqlite3.SQLITE_LOCKED: "another program holds it: close that",
    sqlite3.SQLITE_READONLY: "check the permissions of the file and its directory",
    sqlite3.SQLITE_PERM: "check the permissions of the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "check the permissions of the file and its directory",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "see that its disk is well and has room",
}


def sqlite_path(url: str) -> Path:
    """Return the database file of a store's URL. Raises StoreError for one that would not outlive the process."""
    kind, separator, rest = url.partition("://")
    if not separator:
        raise StoreError("store.url is not a database URL")
    if kind.lower() != "sqlite":
        raise StoreError(f"store.url: {kind} is not supported; use sqlite:///PATH or postgresql://")
    name = unquote(rest.partition("?")[0].partition("/")[2])
    if not name or name == ":memory:" or name.startswith("file:"):
        raise StoreError("store.url names no file; an in-memory database would lose everything")
    return Path(os.path.realpath(name))  # two names of one file are one database


class SqliteEngine(Engine):
    """Opens connections that write durably. It never creates the database file."""

    shared = False
    errors = sqlite3

    def __init__(self, path: Path, *, writable: bool, lock: LockFile | None = None) -> None:
        """Note in `lock` which log the file has, after each connection for writing has opened it."""
        self._path = path
        self._writable = writable
        self._lock = lock
        self._made_for = _identity(path)

    def open(self) -> sqlite3.Connection:
        """Return a new connection."""
        self._check_file()
        mode = "rw" if self._writable else "ro"
        raw = sqlite3.connect(
            f"{self._path.as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=BUSY_TIMEOUT / 1000,
            check_same_thread=self._writable,
            cached_statements=STATEMENTS,
        )
        raw.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        raw.execute("PRAGMA temp_store=MEMORY")
        if self._writable:
            raw.execute("PRAGMA journal_mode=WAL")
            raw.execute("PRAGMA synchronous=FULL")
            raw.execute(f"PRAGMA journal_size_limit={JOURNAL_LIMIT}")
            raw.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            if self._lock is not None:
                self._lock.note()
        return raw

    def start(self, raw: sqlite3.Connection) -> None:
        """Take the lock for writing at once: the driver would begin late, and for reading."""
        self._check_file()
        raw.execute("BEGIN IMMEDIATE")

    def prove_room(self, raw: sqlite3.Connection) -> None:
        """Write `ROOM` to the log, in an open transaction, and take it back before it is committed.

        A small change proves nothing: after a checkpoint it finds room in the old log, on a full disk too. What the
        next changes write takes the same place in the log. A connection that fails here is not used again.
        """
        raw.execute(f"PRAGMA cache_size={SPILLING}")
        raw.execute("SAVEPOINT room")
        raw.execute("UPDATE counters SET value = randomblob(?) WHERE name = 'node'", (ROOM,))
        raw.execute("ROLLBACK TO room")
        raw.execute("RELEASE room")
        raw.execute(f"PRAGMA cache_size=-{CACHE_KIB}")

    def check(self, raw: sqlite3.Connection) -> None:  # noqa: ARG002 - what can be wrong is the file
        """Raise sqlite3.OperationalError if the file is another."""
        self._check_file()

    def _check_file(self) -> None:
        """Refuse a file that was moved or deleted: SQLite would go on writing to it."""
        if _identity(self._path) != self._made_for:
            moved = f"{self._path} was moved away or replaced; put it back, or restart notifier"
            raise sqlite3.OperationalError(moved)


def prepare(path: Path) -> str | None:
    """Create the file if there is none, and migrate its tables. Raises StoreError, StoreTooNew.

    Returns the revision that they had; None: there were no tables.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # it holds metadata and callback bodies
    except OSError as exc:
        raise StoreError(f"cannot open {path}: {exc.strerror}; check store.url and its permissions") from exc
    log = path.with_name(path.name + "-wal")
    left = log.exists()  # by a process that was killed
    if left:
        _check_with_log(path, log)
    made = SqliteEngine(path, writable=True)
    try:
        with made.connect() as connection:
            if not left:
                _check(connection, path)
        return migrations.bring_up_to_date(made)
    except StoreTooNew as exc:
        raise StoreTooNew(f"{path} was written by a newer notifier ({exc}); upgrade, or restore an older copy") from exc
    except sqlite3.Error as exc:
        raise refusal(path, exc) from exc


def refusal(path: Path, exc: sqlite3.Error) -> StoreError:
    """Return the error for a database that cannot be opened, with the remedy."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF  # the primary code
    advice = _ADVICE.get(code, "restore a copy, or move it away to start anew")
    return StoreError(f"cannot use {path}: {exc}; {advice}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _check_with_log(path: Path, log: Path) -> None:
    """Check a database through its log, without applying that: it may be the log of another file.

    A connection for writing would apply it when it is closed, and so spoil a copy that was put in the place of a
    damaged database. Raises StoreError.
    """
    reading = SqliteEngine(path, writable=False)
    try:
        with reading.connect() as connection:
            _check(connection, path)
    except StoreError as exc:
        hint = f"if a copy was put in its place, move {log.name} away, which belongs to the file before"
        raise StoreError(f"{exc}; {hint}") from exc
    except sqlite3.Error as exc:
        hint = f"if it is a copy, move {log.name} away first"
        raise StoreError(f"{refusal(path, exc)}; {hint}") from exc


def _check(connection: Connection, path: Path) -> None:
    if path.stat().st_size > CHECK_LIMIT:
        return
    result = connection.execute("PRAGMA quick_check(1)").scalar()
    damage = None if result == "ok" else _damage(connection, str(result))
    if damage is not None:
        raise StoreError(f"{path} is damaged ({damage}); restore a copy, or move it away to start anew")


def _damage(connection: Connection, result: str) -> str:
    """Return the first fault of a check, with the table or index whose tree begins at its page.

    The title in front of the faults names none.
    """
    faults = [line for line in result.splitlines() if not line.startswith("***")]
    fault = faults[0] if faults else result
    if (root := re.match(r"(?:Tree|On tree page|Page) (\d+)\b", fault)) is not None:
        with suppress(sqlite3.Error):  # the list of tables may be damaged as well
            rows = connection.execute("SELECT type, name FROM sqlite_master WHERE rootpage = :root", {"root": root[1]})
            return "".join(f"{row.type} {row.name}: " for row in rows) + fault
    return fault
