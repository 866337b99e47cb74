"""A store's database: two ways in, one for writing and one for reading, and who may be there at the same time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from notifier.core.databases import is_shared
from notifier.store import postgres, sqlite
from notifier.store.node import Member, Node, Solo


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database that was found fit for use."""

    writing: Engine
    reading: Engine
    node: Node
    shared: bool  # by several nodes
    release: Callable[[], None]  # called last

    def close(self) -> None:
        """Let go of it."""
        self.writing.dispose()
        self.reading.dispose()
        self.release()


def open_database(url: str, *, name: str, timeout: float, migrate: bool) -> Database:
    """Open the database and join it, creating or migrating it where that is due. Blocks. Raises StoreError."""
    return _postgres(url, name, timeout, migrate) if is_shared(url) else _sqlite(url)


def migrate(url: str) -> tuple[str | None, str]:
    """Bring the tables up to date; return the schema that they had, None for none, and the one they have. Blocks.

    Raises StoreError.
    """
    if is_shared(url):
        return postgres.migrate(url), sqlite.HEAD
    path = sqlite.sqlite_path(sqlite.parse(url))
    with sqlite.lock(path):
        return sqlite.prepare(path), sqlite.HEAD


def _sqlite(url: str) -> Database:
    path = sqlite.sqlite_path(sqlite.parse(url))
    lock = sqlite.lock(path)
    try:
        sqlite.prepare(path)
        found = Database(
            writing=sqlite.engine(path, writable=True),
            reading=sqlite.engine(path, writable=False),
            node=Solo(),
            shared=False,
            release=lock.close,
        )
        _join(found)
    except (DBAPIError, sqlite3.Error) as exc:
        lock.close()
        raise sqlite.refusal(path, exc) from exc
    except BaseException:
        lock.close()
        raise
    return found


def _postgres(url: str, name: str, timeout: float, migrate: bool) -> Database:
    if migrate:
        postgres.migrate(url)
    else:
        postgres.check(url)
    found = Database(
        writing=postgres.engine(url, writable=True, timeout=timeout, silence=postgres.WRITE_SILENCE),
        reading=postgres.engine(url, writable=False, silence=postgres.READ_SILENCE),
        node=Member(name, timeout),
        shared=True,
        release=lambda: None,
    )
    try:
        _join(found)
    except DBAPIError as exc:
        raise postgres.refusal(exc) from exc
    return found


def _join(database: Database) -> None:
    with database.writing.begin() as connection:
        joined = database.node.join(connection)
    joined()
