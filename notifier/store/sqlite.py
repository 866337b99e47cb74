"""Finding the database fit for use, or saying in one line why it is not."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from notifier.core.errors import StoreError, StoreTooNew

HEAD = "0003"  # the newest revision in migrations/
BUSY_TIMEOUT = 5000  # milliseconds that SQLite waits for another process's lock
CACHE_KIB = 4096  # pages that SQLite keeps in memory, for each of two connections; the system caches the file too
CHECKPOINT_PAGES = 2000  # of the log, 8 MB, before it is written back: fewer write-backs of the same hot pages
CHECK_LIMIT = 256 << 20  # bytes; a larger file takes too long to read at each start, and damage shows when it is met
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


def parse(url: str) -> URL:
    """Read a store's URL. Raises StoreError."""
    try:
        parsed = make_url(url)
    except ArgumentError as exc:
        raise StoreError("store.url is not a database URL") from exc
    if parsed.get_backend_name() != "sqlite":
        raise StoreError(
            f"store.url: {parsed.get_backend_name()} is not supported; use sqlite:///PATH or postgresql://"
        )
    return parsed


def sqlite_path(url: URL) -> Path:
    """Return the database file. Raises StoreError for a database that would not outlive the process."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise StoreError("store.url names no file; an in-memory database would lose everything")
    return Path(os.path.realpath(url.database))  # two names of one file must not be taken for two


def lock(path: Path) -> IO[bytes]:
    """Make sure that no other daemon uses the database; the lock ends with the process. Raises StoreError."""
    name = path.with_name(path.name + ".lock")
    try:
        held = name.open("ab")
    except OSError as exc:
        raise StoreError(f"cannot write in {path.parent}: {exc.strerror}; create it, or change store.url") from exc
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        held.close()
        raise StoreError(f"{path} is in use by another notifier; stop it first, or change store.url") from exc
    return held


def engine(path: Path, *, writable: bool) -> Engine:
    """Make an engine whose connections are set up for durability; never creates the file."""

    made_for = _identity(path)

    def check_file() -> None:
        """See that the file is still in its place: SQLite would go on writing to one that was moved or deleted."""
        if _identity(path) != made_for:
            raise sqlite3.OperationalError(f"{path} was moved away or replaced; put it back, or restart notifier")

    def begin(connection: Connection) -> None:
        check_file()
        # The driver would begin late and for reading; a writer takes its lock at the start or not at all. Straight to
        # the driver, as it happens for every group.
        raw: Any = connection.connection.dbapi_connection
        raw.execute("BEGIN IMMEDIATE")

    def connect() -> sqlite3.Connection:
        check_file()
        mode = "rw" if writable else "ro"
        raw = sqlite3.connect(
            f"{path.as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=BUSY_TIMEOUT / 1000,
            check_same_thread=writable,
        )
        raw.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        raw.execute("PRAGMA temp_store=MEMORY")
        if writable:
            raw.execute("PRAGMA journal_mode=WAL")
            raw.execute("PRAGMA synchronous=FULL")
            raw.execute(f"PRAGMA journal_size_limit={JOURNAL_LIMIT}")
            raw.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        return raw

    if writable:
        made = create_engine("sqlite://", creator=connect, poolclass=NullPool)
        event.listen(made, "begin", begin)
        return made
    # A new connection reads the whole schema first, which takes longer than most of what is asked of it.
    made = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=1)
    event.listen(made, "checkout", lambda *_: check_file())
    return made


def prepare(path: Path) -> str | None:
    """Create the file if there is none, and bring its tables up to date. Raises StoreError, StoreTooNew.

    Returns the revision that they had; None: there was none.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # it holds metadata and callback bodies
    except OSError as exc:
        raise StoreError(f"cannot open {path}: {exc.strerror}; check store.url and its permissions") from exc
    made = engine(path, writable=True)
    try:
        with made.connect() as connection:
            _check(connection, path)
            with connection.begin():
                return _migrate(connection)
    except StoreTooNew as exc:
        raise StoreTooNew(f"{path} was written by a newer notifier ({exc}); upgrade, or restore an older copy") from exc
    except (DBAPIError, sqlite3.Error) as exc:
        raise refusal(path, exc) from exc
    finally:
        made.dispose()


def refusal(path: Path, exc: DBAPIError | sqlite3.Error) -> StoreError:
    """Say why the database cannot be opened, and what to do about it."""
    reason = exc.orig if isinstance(exc, DBAPIError) else exc
    code = getattr(reason, "sqlite_errorcode", 0) & 0xFF  # the rest of it tells subtleties apart
    advice = _ADVICE.get(code, "restore a copy, or move it away to start anew")
    return StoreError(f"cannot use {path}: {reason}; {advice}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check(connection: Connection, path: Path) -> None:
    if path.stat().st_size > CHECK_LIMIT:
        return
    result = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    connection.rollback()
    if result != "ok":
        first = str(result).splitlines()[0]
        raise StoreError(f"{path} is damaged ({first}); restore a copy, or move it away to start anew")


def _migrate(connection: Connection) -> str | None:
    known = inspect(connection).has_table("alembic_version")
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() if known else []
    if found != [HEAD]:
        # Here, since Alembic takes 80 ms and 10 MiB to load, which the start after the first need not pay.
        from notifier.store.migrating import migrate

        migrate(connection)
    return str(found[0]) if found else None
