"""PostgreSQL databases of a test's own, each dropped at its end.

They are on the server that NOTIFIER_TEST_POSTGRES names, or that listens at the default address. Where there is none,
a server is started for the run.
"""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from helper_programs import command
from psycopg import sql
from servers import Server, programs
from waits import PATIENCE

from notifier.store import postgres
from notifier.store.migrations import HEAD
from notifier.store.schema import TABLES

USUAL = "postgresql://postgres@127.0.0.1:5432"
WANTED = f"postgres is missing: {command(['postgres'])}, or name a server in NOTIFIER_TEST_POSTGRES"


@functools.cache
def server() -> str | None:
    """Return the URL of the server, without a database, or None where there is no server."""
    named = os.environ.get("NOTIFIER_TEST_POSTGRES")
    if named:
        return named.rstrip("/")
    try:
        psycopg.connect(f"{USUAL}/postgres", connect_timeout=round(PATIENCE)).close()
    except psycopg.Error:
        pass
    else:
        return USUAL
    if programs() is None:
        return None
    made = Server()
    atexit.register(made.remove)
    made.start()
    return made.url("").rstrip("/")


def require_server() -> str:
    """Return the URL of the server, or skip the test."""
    found = server()
    if found is None:
        pytest.skip(WANTED)
    return found


def require_programs() -> None:
    """Skip the test where it cannot start a server of its own."""
    if programs() is None:
        pytest.skip(WANTED)


@contextmanager
def own_server() -> Iterator[Server]:
    """Run a server that the test may stop and start, or skip the test."""
    require_programs()
    made = Server()
    try:
        made.start()
        yield made
    finally:
        made.remove()


def execute(statement: str, *names: str) -> None:
    """Run a statement with names in it, outside of a transaction."""
    with psycopg.connect(f"{require_server()}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def empty_database(options: str = "") -> Iterator[str]:
    """Create a database without tables; yield its URL."""
    name = f"notifier_test_{secrets.token_hex(6)}"
    execute(f"CREATE DATABASE {{}} {options}", name)
    try:
        yield f"{require_server()}/{name}"
    finally:
        execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@contextmanager
def new_database() -> Iterator[str]:
    """Create a database with the tables; yield its URL."""
    with empty_database() as url:
        postgres.migrate(url)
        yield url


_kept: list[tuple[str, ExitStack]] = []  # databases that are used again, and what drops each


@contextmanager
def database() -> Iterator[str]:
    """Yield the URL of a database with empty tables, which may have been another test's: a new one takes much longer.

    It is emptied when it is handed out, since programs of the test before may have outlived the test's own part.
    """
    url, drop = _kept.pop() if _kept else _new()
    try:
        if not _empty(url):
            drop.close()
            url, drop = _new()
    except BaseException:
        drop.close()
        raise
    try:
        yield url
    finally:
        _kept.append((url, drop))


def _new() -> tuple[str, ExitStack]:
    with ExitStack() as stack:
        url = stack.enter_context(new_database())
        drop = stack.pop_all()
    atexit.register(drop.close)
    return url, drop


_ALTERED = """
SELECT (SELECT array_agg(version_num::text) FROM alembic_version) IS DISTINCT FROM ARRAY[%(head)s]
    OR (SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public') <> %(tables)s
    OR EXISTS (SELECT FROM pg_db_role_setting JOIN pg_database ON setdatabase = pg_database.oid
               WHERE datname = current_database())
"""


_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE CASE WHEN %(pid)s::int IS NULL THEN datname = current_database() AND pid <> pg_backend_pid()
           ELSE pid = %(pid)s END
"""


def end_sessions(connection: psycopg.Connection, pid: int | None = None) -> None:
    """Have the server end a session, or all others of this database; return once they have ended.

    By asking again, since a server before PostgreSQL 14 does not wait for them itself.
    """
    end = time.monotonic() + PATIENCE
    while connection.execute(_END_SESSIONS, {"pid": pid}).fetchall():
        assert time.monotonic() < end, "sessions do not end"
        time.sleep(0.005)


def _empty(url: str) -> bool:
    """Empty the tables; return False for a database whose schema a test has changed, which cannot be used again."""
    with psycopg.connect(url, autocommit=True) as connection:
        end_sessions(connection)
        given = {"head": HEAD, "tables": len(TABLES) + 1}
        try:
            altered = connection.execute(_ALTERED, given).fetchone()
        except psycopg.errors.UndefinedTable:
            return False
        if altered is None or altered[0]:
            return False
        with connection.transaction():
            for name in TABLES:
                if name != "counters":
                    connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))
            connection.execute("UPDATE counters SET value = 1")
    return True
