"""The store's sessions set the settings that they need, whatever the database or the role has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import databases
import psycopg
import pytest
from psycopg import sql
from store_rig import T0, claim, follow, move, running, settled, shown

from notifier.core.retry import Attempt, Failed
from notifier.store import Later, Settlement, WatchFilter, migrate

SETTINGS = [
    ("datestyle", "SQL, DMY"),
    ("datestyle", "German"),
    ("datestyle", "Postgres, MDY"),
    ("intervalstyle", "iso_8601"),
    ("timezone", "Asia/Kathmandu"),
    ("bytea_output", "escape"),
    ("extra_float_digits", "-15"),
    ("standard_conforming_strings", "off"),
    ("array_nulls", "off"),
    ("transform_null_equals", "on"),
    ("default_transaction_isolation", "serializable"),
    ("synchronous_commit", "off"),
    ("enable_indexscan", "off"),
    ("quote_all_identifiers", "on"),
    ("client_min_messages", "debug5"),
]


@pytest.fixture
def empty() -> Iterator[str]:
    """Name a database without tables."""
    with databases.empty_database() as url:
        yield url


@pytest.mark.parametrize(("setting", "value"), SETTINGS)
async def test_a_setting_of_the_database_changes_nothing(empty: str, setting: str, value: str) -> None:
    """It is migrated, and everything is read as it was written."""
    with psycopg.connect(empty, autocommit=True) as connection:
        name = connection.info.dbname
        alter = sql.SQL("ALTER DATABASE {} SET {} = {}")
        connection.execute(alter.format(sql.Identifier(name), sql.Identifier(setting), sql.Literal(value)))
    assert (await asyncio.to_thread(migrate, empty))[0] is None
    async with running(empty) as store:
        assert store.nodes is not None
        (watch,) = await follow(store, "back\\slash 'quoted' \N{GREEK SMALL LETTER ALPHA}")
        _, (delivery,) = await move(store, watch, "processing")
        assert json.loads(delivery.body)["data"]["state"] == "processing"
        failed = Attempt(at=T0, outcome=Failed(reason="http_500"), status=500, seconds=0.1234567890123)
        again = Later(due=T0 + 1, attempt=1, reason="http_500")
        await store.outbox.settle(Settlement(delivery=delivery, verdict=again, at=T0, attempt=failed))
        (delivery,) = await claim(store, now=T0 + 1)
        await store.outbox.settle(settled(delivery))
        seconds = [attempt["seconds"] for attempt in (await shown(store, delivery.id))["attempts"]]
        assert 0.1234567890123 in seconds
        (item,) = await store.lists.watches(WatchFilter(text="\\slash"), limit=5)
        assert (item["id"], item["phase"]) == (watch.id, "running")
        peers = (await store.nodes.beat(held=1, status={})).peers
        assert [peer.held for peer in peers] == [1]
