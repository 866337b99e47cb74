"""The frozen databases of tests/data/upgrades: one of each revision of the schema (freeze.py makes them)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import databases
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData

from notifier.store import migrations, postgres

PLACE = Path(__file__).parents[1] / "data" / "upgrades"
REVISIONS = sorted(path.stem for path in PLACE.glob("*.sql"))


def thaw(revision: str, path: Path) -> None:
    """Make the database of a revision on SQLite."""
    raw = sqlite3.connect(path)
    raw.executescript((PLACE / f"{revision}.sql").read_text())
    raw.close()


def make_tables(connection: Connection, revision: str) -> None:
    """Make the tables of a revision."""
    config = Config()
    config.set_main_option("script_location", "notifier.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


@contextmanager
def thawed_on_postgresql(revision: str, beside: Path) -> Iterator[str]:
    """Make the same rows on PostgreSQL, in tables that the migrations up to it make; yield the URL."""
    thaw(revision, beside)
    raw = sqlite3.connect(beside)
    raw.row_factory = sqlite3.Row
    with databases.empty_database() as url:
        with migrations.sqlalchemy_connection(postgres.PostgresEngine(url, writable=True)) as connection:
            make_tables(connection, revision)
            described = MetaData()
            described.reflect(connection)
            for table in described.sorted_tables:
                connection.execute(table.delete())
                free = {"owner": None} if "owner" in table.c else {}  # as of nodes that were stopped
                rows = [dict(row) | free for row in raw.execute(f'SELECT * FROM "{table.name}"')]
                if rows:
                    connection.execute(table.insert(), rows)
        raw.close()
        yield url
