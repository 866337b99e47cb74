"""Watches of files: a single node applies its files as they are; of several nodes, only a reload removes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import databases
import psycopg
import pytest
from store_rig import T0, relist, running, wanted

from notifier.core.model import Watch
from notifier.store import Store, WatchChanges, WatchFilter


async def start(store: Store, *ids: str, **described: object) -> WatchChanges:
    """Apply the list of a file, as a start of one of several nodes does."""
    return await store.watches.apply([wanted(id_, **described) for id_ in ids], origin="file", now=T0)


async def reload(store: Store, *ids: str) -> list[Watch]:
    """Apply the list of a file, as a reload does, and a start on SQLite; return the watches removed."""
    return (await relist(store, *map(wanted, ids)))[1]


async def listed(store: Store) -> str:
    """Return the ids of the watches that were not removed."""
    return " ".join(sorted(item["id"] for item in await store.lists.watches(WatchFilter(), limit=100)))


async def test_a_list_that_replaces_holds_at_once(store_url: str) -> None:
    """Only the new list counts, also after a restart."""
    for ids in (("1", "2"), ("2", "3"), ("1", "2"), ()):
        async with running(store_url) as store:
            await reload(store, *ids)
            assert await listed(store) == " ".join(ids)


# -- several nodes


@pytest.fixture
def url() -> Iterator[str]:
    """Name a PostgreSQL database of nobody else's."""
    with databases.database() as made:
        yield made


async def test_a_start_adds_and_describes(url: str) -> None:
    """It removes nothing: another node may list more. The order of a list does not matter."""
    async with running(url, name="a") as a, running(url, name="b") as b:
        await start(a, "1", "2")
        changes = await start(b, "3", "2", labels={"team": "x"})
        assert changes.added == (("vidu", "3"),)
        assert [watch.id for watch in changes.changed] == ["2"]
        assert await listed(a) == "1 2 3"
        assert await start(b) == WatchChanges()
        assert await listed(a) == "1 2 3"


async def test_a_reload_removes_whoever_added(url: str) -> None:
    """It removes watches of files, whichever node added them. Watches of the API stay."""
    async with running(url, name="a") as a, running(url, name="b") as b:
        await start(a, "1", "2")
        await b.watches.apply([wanted("api")], origin="api", now=T0)
        assert sorted(watch.id for watch in await reload(b, "3")) == ["1", "2"]
        assert await listed(a) == "3 api"


async def test_a_start_with_an_old_file_follows_again_until_a_reload(url: str) -> None:
    """The old file cannot be told from a new one."""
    async with running(url, name="a") as a:
        await start(a, "1", "2")
        await reload(a, "1")
        async with running(url, name="b") as b:
            assert (await start(b, "1", "2")).added == (("vidu", "2"),)
            assert await listed(b) == "1 2"
        await reload(a, "1")
        assert await listed(a) == "1"


async def test_nodes_that_start_at_once_agree(url: str) -> None:
    """The same files on each: every watch once, and nobody fails."""
    ids = [str(n) for n in range(300)]
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(running(url, name=f"n{n}")) for n in range(4)]
        applied = await asyncio.gather(*(start(store, *ids[n:], *ids[:n]) for n, store in enumerate(nodes)))
        assert sum(len(one.added) for one in applied) == 300
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM watches").fetchone() == (300,)
