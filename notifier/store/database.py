"""A store's database: an engine for writing, one for reading, and the node that works on it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass

from notifier.core.databases import is_shared
from notifier.store import migrations, postgres, sqlite
from notifier.store.connection import Engine
from notifier.store.lock_file import LockFile
from notifier.store.node import Member, Node, Solo
from notifier.store.postgres import PostgresEngine
from notifier.store.sqlite import SqliteEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database that was checked and joined."""

    writing: Engine
    reading: Engine
    node: Node
    shared: bool  # several nodes may work on it
    lock: LockFile | None  # of SQLite, where a second daemon is kept out

    def close(self) -> None:
        """Release the lock, once nothing is connected any more."""
        if self.lock is not None:
            self.lock.close()


def open_database(url: str, *, name: str, timeout: float, migrate: bool) -> Database:
    """Open the database and join it; create or migrate it first if that is due. Blocks. Raises StoreError."""
    return _postgres(url, name, timeout, migrate) if is_shared(url) else _sqlite(url)


def migrate(url: str) -> tuple[str | None, str]:
    """Migrate the tables; return the revision that they had, or None, and the revision that they have now. Blocks.

    Raises StoreError.
    """
    if is_shared(url):
        return postgres.migrate(url), migrations.HEAD
    path = sqlite.sqlite_path(url)
    with closing(LockFile(path)) as lock:
        lock.set_stale_log_aside()
        return sqlite.prepare(path), migrations.HEAD


def _sqlite(url: str) -> Database:
    path = sqlite.sqlite_path(url)
    lock = LockFile(path)
    try:
        lock.set_stale_log_aside()
        sqlite.prepare(path)
        lock.identify()  # it may have been created
        database = Database(
            writing=SqliteEngine(path, writable=True, lock=lock),
            reading=SqliteEngine(path, writable=False),
            node=Solo(),
            shared=False,
            lock=lock,
        )
        _join(database)
    except sqlite3.Error as exc:
        lock.close()
        raise sqlite.refusal(path, exc) from exc
    except BaseException:
        lock.close()
        raise
    return database


def _postgres(url: str, name: str, timeout: float, migrate: bool) -> Database:
    if migrate:
        postgres.migrate(url)
    else:
        postgres.check(url)
    database = Database(
        writing=PostgresEngine(url, writable=True, stall=postgres.stall_limit(timeout), silence=postgres.WRITE_SILENCE),
        reading=PostgresEngine(url, writable=False, silence=postgres.READ_SILENCE),
        node=Member(name, timeout),
        shared=True,
        lock=None,
    )
    try:
        _join(database)
    except database.writing.errors.Error as exc:
        raise postgres.refusal(exc) from exc
    return database


def _join(database: Database) -> None:
    with database.writing.begin() as connection:
        joined = database.node.join(connection)
    joined()
