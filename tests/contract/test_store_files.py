"""Watches of files: the whole is stated each time, and of several nodes' copies the last one applied holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import databases
import psycopg
import pytest
from store_rig import T0, running, wanted

from notifier.store import Store, WatchChanges, WatchFilter, filesets


async def start(store: Store, *ids: str) -> WatchChanges:
    """Apply what files list, as a start does."""
    return await store.watches.apply([wanted(id_) for id_ in ids], origin="file", now=T0, replace=True, insist=False)


async def reload(store: Store, *ids: str) -> WatchChanges:
    """Apply what files list, as somebody asks for."""
    return await store.watches.apply([wanted(id_) for id_ in ids], origin="file", now=T0, replace=True)


async def listed(store: Store) -> str:
    """Return the ids of what is wanted."""
    return " ".join(sorted(item["id"] for item in await store.lists.watches(WatchFilter(), limit=100)))


async def test_one_node_always_has_its_way(store_url: str) -> None:
    """At each start, whatever was in force before."""
    for ids in (("1", "2"), ("2", "3"), ("1", "2"), ()):
        async with running(store_url) as store:
            assert (await start(store, *ids)).newer is None
            assert await listed(store) == " ".join(ids)


# -- several nodes


@pytest.fixture
def url() -> Iterator[str]:
    """Name a PostgreSQL database of nobody else's."""
    with databases.database() as made:
        yield made


async def test_a_start_with_older_files_does_not_undo_newer_ones(url: str) -> None:
    """A removal stays one; the node that is up to date is named."""
    async with running(url, name="a") as a:
        async with running(url, name="b") as b:
            await start(a, "1", "2")
            assert (await start(b, "2", "1")).newer is None, "the order does not matter"
            assert len((await reload(a, "1", "3")).removed) == 1
        async with running(url, name="b") as b:
            assert (await start(b, "1", "2")) == WatchChanges(newer="a")
            assert await listed(b) == "1 3"
            assert (await start(b, "1", "2")).newer == "a", "and when it reads them again"
            assert (await start(b, "1", "3")).newer is None
            assert await listed(b) == "1 3"


async def test_whoever_insists_has_his_way(url: str) -> None:
    """And then the other copy is the older one."""
    async with running(url, name="a") as a, running(url, name="b") as b:
        await start(a, "1")
        await reload(a, "2")
        assert (await start(b, "1")).newer == "a"
        assert (await reload(b, "1")).newer is None
        assert await listed(a) == "1"
        async with running(url, name="c") as c:
            assert (await start(c, "2")).newer == "b"


async def test_files_that_nobody_knows_hold(url: str) -> None:
    """A deployment may restart nodes one by one, instead of reloading them."""
    async with running(url, name="a") as a:
        await start(a, "1")
        async with running(url, name="b") as b:
            assert (await start(b, "2")).newer is None
            assert await listed(a) == "2"


async def test_a_rollback_by_restarts_settles_once_nobody_has_the_newer_files(url: str) -> None:
    """The first that comes back defers to the second, which defers to nobody."""
    async with running(url, name="a") as a:
        await start(a, "1")
        async with AsyncExitStack() as stack:
            b = await stack.enter_async_context(running(url, name="b"))
            await reload(b, "2")
            assert (await start(a, "1")).newer == "b"
        async with running(url, name="b") as b:
            assert (await start(b, "1")).newer is None
            assert await listed(b) == "1"


async def test_files_that_change_back_hold_without_insisting(url: str) -> None:
    """A node that follows its files reads what somebody has written there."""
    async with running(url, name="a") as a, running(url, name="b") as b:
        await start(a, "1")
        await start(a, "2")
        await start(b, "2")
        assert (await start(a, "1")).newer is None
        assert await listed(a) == "1"


async def test_a_killed_node_is_no_other(url: str) -> None:
    """Started again before it is buried, it does not defer to itself."""
    async with running(url, name="a") as killed:
        await start(killed, "1")
        await reload(killed, "2")
        async with running(url, name="a") as a:
            assert (await start(a, "1")).newer is None


async def test_a_node_that_is_silent_has_no_say(url: str) -> None:
    """It may never come back."""
    async with running(url, name="a") as a, running(url, name="b") as b:
        await start(a, "1")
        await reload(a, "2")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("UPDATE nodes SET seen_at = 0 WHERE name = 'a'")
        assert (await start(b, "1")).newer is None


async def test_nodes_that_start_at_once_agree(url: str) -> None:
    """The same files on each: every watch once, and nobody fails."""
    ids = [str(n) for n in range(300)]
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(running(url, name=f"n{n}")) for n in range(4)]
        applied = await asyncio.gather(*(start(store, *ids[n:], *ids[:n]) for n, store in enumerate(nodes)))
        assert sum(len(one.added) for one in applied) == 300
        assert [one.newer for one in applied] == [None] * 4
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM watches").fetchone() == (300,)
            assert connection.execute("SELECT count(*) FROM file_sets").fetchone() == (1,)


async def test_what_is_remembered_is_bounded(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest states are forgotten, never the one in force."""
    monkeypatch.setattr(filesets, "_FORGET", filesets.forgetting(3))
    async with running(url, name="a") as a:
        for n in range(8):
            await a.watches.apply([wanted(str(n))], origin="file", now=T0 + n, replace=True)
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT applied_at FROM file_sets ORDER BY applied_at").fetchall()
        assert [at - T0 for (at,) in rows] == [5, 6, 7]
