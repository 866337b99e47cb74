"""PostgreSQL databases of nobody else's: each is a copy of one that was migrated once, and is dropped in the end."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from notifier.store import postgres

SERVER = os.environ.get("NOTIFIER_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")


def reachable() -> bool:
    """Say whether there is a PostgreSQL to test with."""
    try:
        psycopg.connect(f"{SERVER}/postgres", connect_timeout=3).close()
    except psycopg.Error:
        return False
    return True


def execute(statement: str, *names: str) -> None:
    """Run a statement on the server that is no transaction's, with names of databases in it."""
    with psycopg.connect(f"{SERVER}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def empty_database() -> Iterator[str]:
    """Make a database without tables; yield its URL."""
    name = f"notifier_test_{secrets.token_hex(6)}"
    execute("CREATE DATABASE {}", name)
    try:
        yield f"{SERVER}/{name}"
    finally:
        execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@contextmanager
def database() -> Iterator[str]:
    """Make a database with the tables; yield its URL."""
    with empty_database() as url:
        postgres.migrate(url)
        yield url
