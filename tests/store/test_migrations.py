"""The tables that the program speaks of are those that migrations make."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import databases
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from statements import each_connection, noted
from store_rig import follow, move, running

from notifier.core.errors import StoreError
from notifier.store import DeliveryFilter, migrations, postgres, sqlite
from notifier.store.connection import Engine


def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", "notifier.store:migrations")
    return ScriptDirectory.from_config(config)


def migrated(connection: Connection, revision: str = "head") -> Connection:
    """Run the migrations on an empty database."""
    command.upgrade(_config(connection), revision)
    return connection


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "notifier.store:migrations")
    config.attributes["connection"] = connection
    return config


def engine(path: Path) -> Engine:
    """Return the way to a database, which need not be there yet."""
    sqlite3.connect(path).close()
    return sqlite.SqliteEngine(path, writable=True)


def tables(connection: Connection) -> dict[str, object]:
    """Describe the tables in full, but for the order of columns, which a migration cannot choose."""
    found = inspect(connection)

    def column(described: Mapping[str, Any]) -> tuple[str, str, bool, object]:
        return described["name"], str(described["type"]), described["nullable"], described["default"]

    kept = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    if connection.dialect.name == "postgresql":
        kept = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    return {
        name: (
            sorted(map(column, found.get_columns(name))),
            found.get_pk_constraint(name),
            found.get_unique_constraints(name),
        )
        for name in sorted(found.get_table_names())
    } | {"indexes": {row[0]: _plain(row[1]) for row in connection.exec_driver_sql(kept)}}


def _plain(sql: str) -> str:
    """Return an index's statement without the names of tables before columns, and without line breaks."""
    return " ".join(re.sub(r"\b(watches|deliveries|events|callbacks)\.", "", sql).split())


def values(connection: Connection) -> list[list[tuple[Any, ...]]]:
    return [
        sorted(map(tuple, connection.exec_driver_sql(f"SELECT * FROM {name}").all()))
        for name in ("counters", "alembic_version")
    ]


def test_an_empty_database_gets_what_the_migrations_make(path: Path) -> None:
    """Same tables, columns, defaults, keys, indexes and rows, without Alembic."""
    ours = engine(path)
    assert migrations.bring_up_to_date(ours) is None
    with (
        migrations.sqlalchemy_connection(ours) as created,
        migrations.sqlalchemy_connection(engine(path.with_name("other.db"))) as other,
    ):
        migrated(other)
        assert tables(created) == tables(other)
        assert values(created) == values(other)
        for name in ("attempts", "messages"):
            sql = created.exec_driver_sql(f"SELECT sql FROM sqlite_master WHERE name = '{name}'").scalar()
            assert "WITHOUT ROWID" in str(sql)


def test_an_empty_postgresql_gets_what_the_migrations_make() -> None:
    """As with SQLite."""
    with databases.empty_database() as first, databases.empty_database() as second:
        ours, others = [postgres.PostgresEngine(url, writable=True) for url in (first, second)]
        assert migrations.bring_up_to_date(ours) is None
        with migrations.sqlalchemy_connection(ours) as created, migrations.sqlalchemy_connection(others) as other:
            migrated(other)
            assert tables(created) == tables(other)
            assert values(created) == values(other)


def test_a_database_with_other_tables_gets_ours_besides(path: Path) -> None:
    """PostgreSQL's database may be shared with other programs."""
    made = engine(path)
    with made.begin() as connection:
        connection.execute("CREATE TABLE theirs (x)")
    migrations.bring_up_to_date(made)
    with migrations.sqlalchemy_connection(made) as connected:
        assert {"theirs", "watches", "alembic_version"} <= set(inspect(connected).get_table_names())


def test_the_newest_migration_is_the_one_that_is_looked_for() -> None:
    """There is one line of migrations, and its end is what a start takes for up to date."""
    assert scripts().get_heads() == [migrations.HEAD]


def test_every_migration_says_what_it_does() -> None:
    """Operators read the docstrings to learn what a version changed."""
    assert all(revision.doc for revision in scripts().walk_revisions())


async def test_a_database_that_is_up_to_date_is_not_migrated(path: Path, url: str) -> None:
    """Nothing is created the second time."""
    async with running(url):
        pass
    with noted() as made:
        async with running(url):
            pass
    assert made
    assert [text for text, _ in made if "CREATE" in text.upper() or "ALTER" in text.upper()] == []


@pytest.mark.parametrize("start", ["base", *sorted(revision.revision for revision in scripts().walk_revisions())])
async def test_a_database_of_every_version_is_brought_up_to_date(path: Path, url: str, start: str) -> None:
    """A start migrates whatever an older version left, and works."""
    with migrations.sqlalchemy_connection(engine(path)) as connected:
        if start == "base":
            command.ensure_version(_config(connected))
        else:
            migrated(connected, start)
    async with running(url) as store:
        (watch,) = await follow(store, "1")
        await move(store, watch, "queueing")
        assert len(await store.lists.deliveries(DeliveryFilter(), limit=1)) == 1
    raw = sqlite3.connect(path)
    assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [(migrations.HEAD,)]
    raw.close()


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    """It is one transaction: what was there before is there after, and the next start tries again."""

    def limit(raw: sqlite3.Connection) -> None:
        raw.execute("PRAGMA max_page_count=10")  # of about twenty that the tables take

    with each_connection(limit), pytest.raises(StoreError, match="full"):
        sqlite.prepare(path)
    raw = sqlite3.connect(path)
    assert raw.execute("SELECT name FROM sqlite_master").fetchall() == []
    raw.close()
    sqlite.prepare(path)
