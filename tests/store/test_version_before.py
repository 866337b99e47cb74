"""The store opens the previous version's database, with rows in every table, and continues where it was."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import databases
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData
from store_rig import SECOND, claim, running

from notifier.store import DeliveryFilter, Store, WatchFilter, migrate, postgres
from notifier.store.migrations import HEAD

DUMP = Path(__file__).parents[1] / "data" / "store_0002.sql"
T0 = 1_780_000_000 * SECOND  # when its rows were written


@pytest.fixture
def dump(path: Path) -> Path:
    """Restore the database on SQLite."""
    raw = sqlite3.connect(path)
    raw.executescript(DUMP.read_text())
    raw.close()
    return path


@pytest.fixture
def copied(dump: Path) -> Iterator[str]:
    """Copy the database to PostgreSQL, with the schema of its version."""
    with databases.empty_database() as url:
        engine = postgres.engine(url, writable=True)
        config = Config()
        config.set_main_option("script_location", "notifier.store:migrations")
        raw = sqlite3.connect(dump)
        raw.row_factory = sqlite3.Row
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "0002")
            described = MetaData()
            described.reflect(connection)
            for table in described.sorted_tables:
                connection.execute(table.delete())
                free = {"owner": None} if "owner" in table.c else {}  # as of nodes that were stopped
                rows = [dict(row) | free for row in raw.execute(f'SELECT * FROM "{table.name}"')]
                if rows:
                    connection.execute(table.insert(), rows)
        raw.close()
        engine.dispose()
        yield url


async def check(store: Store) -> None:
    """Assert that everything is there and goes on."""
    items = {item["id"]: item for item in await store.lists.watches(WatchFilter(), limit=10)}
    assert {name: item["phase"] for name, item in items.items()} == {
        "ended": "succeeded",
        "open": "running",
        "called": "running",
    }
    assert (items["open"]["labels"], items["called"]["callback"]) == ({"team": "a"}, "https://example.com")
    assert [watch.id for watch in await store.watches.claim(10)] == ["open", "called"]
    (delivery,) = await claim(store, now=T0 + SECOND)
    assert (delivery.id, delivery.attempt) == (1, 1)
    detail = await store.lists.delivery(1)
    assert detail is not None
    assert [attempt["reason"] for attempt in detail["attempts"]] == ["http_500"]
    assert await store.outbox.retry(DeliveryFilter(status="dead"), now=T0 + SECOND) == 1
    taken = (await store.endpoints.take_callbacks(10, now=T0 + SECOND)).taken
    assert [callback.url for callback, _ in taken] == ["https://example.com/hook"]
    (state,) = await store.endpoints.states()
    assert (state.name, state.reason) == ("app", "http_410")


async def test_sqlite(dump: Path) -> None:
    """A start migrates."""
    async with running(f"sqlite:///{dump}") as store:
        await check(store)


async def test_postgresql(copied: str) -> None:
    """`notifier migrate` does."""
    assert await asyncio.to_thread(migrate, copied) == ("0002", HEAD)
    async with running(copied) as store:
        await check(store)
