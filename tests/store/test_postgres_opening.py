"""A PostgreSQL is fit for use, or one line says why it is not and what to do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import databases
import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from store_rig import follow, move, running

from notifier.core.errors import StoreError, StoreTooNew, StoreTooOld
from notifier.store import DeliveryFilter, Store, migrate, migrations, postgres


@pytest.fixture
def empty() -> Iterator[str]:
    """Name a database without tables."""
    with databases.empty_database() as url:
        yield url


@pytest.fixture
def url() -> Iterator[str]:
    """Name a database with tables."""
    with databases.database() as made:
        yield made


def scripts() -> Config:
    config = Config()
    config.set_main_option("script_location", "notifier.store:migrations")
    return config


@pytest.mark.parametrize(
    "start", [script.revision for script in ScriptDirectory.from_config(scripts()).walk_revisions()]
)
async def test_a_database_of_every_version_is_brought_up_to_date(empty: str, start: str) -> None:
    """A database of any older version can be opened after it was migrated, and not before."""
    with migrations.sqlalchemy_connection(postgres.PostgresEngine(empty, writable=True)) as connection:
        config = scripts()
        config.attributes["connection"] = connection
        command.upgrade(config, start)
    if start != migrations.HEAD:
        with pytest.raises(StoreTooOld, match=f"schema {start}"):
            Store.open(empty)
    assert migrate(empty) == (start, migrations.HEAD)
    async with running(empty) as store:
        (watch,) = await follow(store, "1")
        await move(store, watch, "queueing")
        assert len(await store.lists.deliveries(DeliveryFilter(), limit=1)) == 1


@pytest.mark.parametrize(("stall", "limit"), [(60.0, "1min"), (postgres.stall_limit(10.0), "2500ms")])
def test_the_server_waits_longer_for_one_that_migrates_than_for_a_node(empty: str, stall: float, limit: str) -> None:
    """A busy machine must not end a migration half-way; a node that falls silent must not hold its locks."""
    made = postgres.PostgresEngine(empty, writable=True, stall=stall)
    with made.connect() as connection:
        assert connection.execute("SHOW idle_in_transaction_session_timeout").scalar() == limit
    assert postgres.UNHURRIED_STALL == 60.0


async def test_those_who_migrate_at_once_wait_for_each_other(empty: str) -> None:
    """Several nodes may be started with `--migrate`: one makes the tables, the others find them."""
    found = await asyncio.gather(*(asyncio.to_thread(migrate, empty) for _ in range(4)))
    assert sorted(str(before) for before, _ in found) == [migrations.HEAD] * 3 + ["None"]


def test_a_migration_that_fails_changes_nothing(empty: str) -> None:
    """It is one transaction: what was there before is there after."""
    with psycopg.connect(empty) as connection:
        connection.execute("CREATE TABLE deliveries (something text)")
    with pytest.raises(StoreError, match="already exists"):
        migrate(empty)
    with psycopg.connect(empty) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert tables == [("deliveries",)]


def test_tables_of_a_newer_version_are_left_alone(url: str) -> None:
    """By a start as by a migration."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for attempt in (lambda: Store.open(url), lambda: Store.open(url, migrate=True), lambda: migrate(url)):
        with pytest.raises(StoreTooNew, match=r"newer notifier \(schema 9999\); upgrade this one"):
            attempt()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_an_encoding_that_cannot_hold_every_text_is_refused(encoding: str) -> None:
    """Before any table is made; how to make a database that can is said."""
    options = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with databases.empty_database(options) as url:
        for attempt in (lambda: Store.open(url), lambda: migrate(url)):
            with pytest.raises(StoreError, match=f"is encoded in {encoding}; make one with: createdb -E UTF8"):
                attempt()


def test_a_server_that_is_too_old_is_refused(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the one at hand is declared to be: none so old can be had."""
    monkeypatch.setattr(postgres, "LEAST_SERVER", 99)
    for attempt in (lambda: Store.open(empty), lambda: migrate(empty)):
        with pytest.raises(StoreError, match=r"store.url leads to PostgreSQL \d+; 99 or newer is needed"):
            attempt()


def test_the_clients_encoding_is_ours(url: str) -> None:
    """Texts are UTF-8, whatever encoding the URL or the environment names."""
    made = postgres.PostgresEngine(f"{url}?client_encoding=latin1", writable=True)
    with made.connect() as connection:
        assert connection.execute("SHOW client_encoding").scalar() == "UTF8"


def test_commits_are_on_disk_whatever_the_servers_default_is(url: str) -> None:
    """Weaker settings are made stronger, and stronger ones stay."""
    for given, found in {"off": "on", "local": "on", "on": "on", "remote_apply": "remote_apply"}.items():
        made = postgres.PostgresEngine(f"{url}?options=-c%20synchronous_commit%3D{given}", writable=True)
        with made.connect() as connection:
            assert connection.execute("SHOW synchronous_commit").scalar() == found


def test_waiting_statements_see_what_was_committed_whatever_the_servers_default_is(url: str) -> None:
    made = postgres.PostgresEngine(f"{url}?options=-c%20default_transaction_isolation%3Dserializable", writable=True)
    with made.connect() as connection:
        assert connection.execute("SHOW transaction_isolation").scalar() == "read committed"


def test_the_driver_is_loaded_only_for_postgresql() -> None:
    """It takes 40 ms, which the users of SQLite need not pay."""
    imports = "import sys; import notifier.daemon.app, notifier.cli"
    loaded = f"{imports}; print([n for n in sys.modules if n.startswith('psycopg')])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
