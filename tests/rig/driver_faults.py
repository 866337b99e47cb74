"""A driver whose calls fail: SQLite's with a disk error, psycopg with a lost connection.

`Faults` knows each call by its statement and by the one before it in the same thread, so that the COMMIT of one
transaction is another call than that of the next. First it learns the calls of a course without a fault. Then it has
each of them fail once: before it is done, or after, which for a COMMIT is when nobody knows whether it succeeded.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Literal

import psycopg
import pytest

from notifier.store.pipeline import Pipeline

Moment = Literal["before", "after"]
Call = tuple[str, str]  # the statement before it, and its own
GAP = 12  # calls between two that fail, at least: a store that is never well is another test


class Faults:
    """The calls that are to fail."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # the store has several threads
        self._thread = threading.local()
        self._learning = False
        self._moment: Moment | None = None  # None: nothing fails
        self._since = 0  # calls since the last that failed
        self.known: set[Call] = set()
        self.left: set[Call] = set()

    def learn(self, on: bool) -> None:
        """Learn calls, or no more."""
        self._learning = on

    def arm(self, moment: Moment) -> None:
        """Have every call that is known fail once."""
        self._moment, self.left = moment, set(self.known)

    def disarm(self) -> None:
        """Have nothing fail."""
        self._moment = None

    def around(self, name: str, fail: Callable[[Any], Exception], function: Callable[..., Any]) -> Callable[..., Any]:
        """Count the calls of a method; `fail` makes the error, with the object whose method it is."""

        def called(self_: Any, *args: Any, **given: Any) -> Any:
            moment = self._strikes(f"{name} {args[0] if args else ''}")
            if moment == "before":
                raise fail(self_)
            result = function(self_, *args, **given)
            if moment == "after":
                raise fail(self_)
            return result

        return called

    def _strikes(self, statement: str) -> Moment | None:
        call = (getattr(self._thread, "last", ""), statement)
        self._thread.last = statement
        with self._lock:
            self._since += 1
            if self._learning:
                self.known.add(call)
            if self._moment is None or call not in self.left or self._since < GAP:
                return None
            self.left.discard(call)
            self._since = 0
            return self._moment


def install_sqlite(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the connections of SQLite, from now on, count their calls. No call fails after it is done: SQLite knows."""

    def fail(_: Any) -> Exception:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        return error

    class Cursor(sqlite3.Cursor):
        execute = faults.around("execute", fail, sqlite3.Cursor.execute)
        executemany = faults.around("executemany", fail, sqlite3.Cursor.executemany)

    class Connection(sqlite3.Connection):
        commit = faults.around("commit", fail, sqlite3.Connection.commit)

        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def execute(self, *args: Any) -> Any:
            return self.cursor().execute(*args)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **given: connect(*args, **{"factory": Connection} | given))


def install_postgresql(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have psycopg, and what the store calls in its place, count their calls; a call that fails ends its connection."""

    def lost(raw: Any) -> Exception:
        pgconn = getattr(raw, "pgconn", None) or getattr(raw, "_pgconn", None) or raw.connection.pgconn
        pgconn.finish()
        return psycopg.OperationalError("the connection was lost")

    for owner, names in (
        (psycopg.Cursor, ("execute", "executemany")),
        (psycopg.Connection, ("commit",)),
        (Pipeline, ("_finish",)),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, faults.around(name, lost, getattr(owner, name)))
    send = Pipeline.send

    def sent(self: Pipeline, statement: Any, rows: Any) -> Any:
        counted = faults.around(f"send {statement.name}", lost, lambda pipeline: send(pipeline, statement, rows))
        return counted(self)

    monkeypatch.setattr(Pipeline, "send", sent)
