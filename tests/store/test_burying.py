"""Nodes that share a PostgreSQL: what each says of itself, and what becomes of one that is taken for dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import databases
import psycopg
import pytest
from storing import T0, claim, follow, move, settled, wanted

from notifier.core.errors import StaleWrite
from notifier.core.model import Address
from notifier.interfaces import Census
from notifier.store.nodes import Nodes
from notifier.store.sql import SqlStore

HERE = (Address(endpoint="app", take=True),)


@pytest.fixture
def shared_url() -> Iterator[str]:
    """Name a database with tables."""
    databases.require_server()
    with databases.database() as made:
        yield made


@asynccontextmanager
async def node(url: str, name: str, timeout: float = 10.0) -> AsyncIterator[SqlStore]:
    """Run a store as a node."""
    store = await asyncio.to_thread(lambda: SqlStore.open(url, name=name, timeout=timeout))
    writer = asyncio.create_task(store.run(), name=f"store {name}")
    try:
        yield store
    finally:
        await store.close()
        await writer
        store.shutdown()


def nodes_of(store: SqlStore) -> Nodes:
    assert store.nodes is not None
    return store.nodes


async def beat(store: SqlStore, held: int | None = None) -> Census:
    return await nodes_of(store).beat(held=held, status={})


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def silence(url: str, name: str) -> None:
    """Let it seem that a node has said nothing for an hour."""
    execute(url, f"UPDATE nodes SET seen_at = seen_at - 3600000000 WHERE name = '{name}'")


async def bury(undertaker: SqlStore, name: str) -> bool:
    [peer] = [peer for peer in (await beat(undertaker)).peers if peer.name == name]
    return await nodes_of(undertaker).bury(peer)


async def test_what_is_held_and_what_is_free_add_up_at_every_moment(shared_url: str) -> None:
    """Claims and releases count what they move; a sign of life that comes in between does not undo it."""
    async with node(shared_url, "a") as a, node(shared_url, "b") as b:
        await a.apply([wanted(str(n)) for n in range(10)], origin="api", now=T0)
        mine = await a.claim_watches(6)
        for held, free, count in ((None, 4, 6), (6, 4, 6)):
            census = await beat(a, held)
            assert {peer.name: peer.held for peer in census.peers} == {"a": count, "b": 0}
            assert census.unclaimed == free
        await a.release_watches(mine[:2])
        await b.claim_watches(100)
        census = await beat(a)
        assert {peer.name: peer.held for peer in census.peers} == {"a": 4, "b": 6}
        assert census.unclaimed == 0


async def test_who_leaves_is_told_of_and_frees_what_it_followed(shared_url: str) -> None:
    """At once, while it goes on to give signs of life; nobody is to wait for it to end."""
    async with node(shared_url, "a") as a, node(shared_url, "b") as b:
        await follow(a, "1", "2")
        await nodes_of(a).release_all()
        census = await beat(b)
        assert [(peer.name, peer.leaving, peer.held) for peer in census.peers] == [("a", True, 0), ("b", False, 0)]
        assert len(await b.claim_watches(100)) == 2
    assert await asyncio.to_thread(rows, shared_url, "SELECT count(*) FROM nodes") == [(0,)]


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


async def test_who_lives_is_not_buried(shared_url: str) -> None:
    """Whatever was read of it a moment ago: what counts is the row at the burial."""
    async with node(shared_url, "a") as a, node(shared_url, "b") as b:
        silence(shared_url, "a")
        [peer] = [peer for peer in (await beat(b)).peers if peer.name == "a"]
        await beat(a)
        assert not await nodes_of(b).bury(peer)


async def test_the_buried_write_nothing_and_come_back_with_nothing(shared_url: str) -> None:
    """Its steps and settlements come to nothing, others have its work; it goes on under another number."""
    async with node(shared_url, "a") as a, node(shared_url, "b") as b:
        [watch] = await follow(a, "1")
        watch, [delivery] = await move(a, watch, "queueing", to=HERE)
        number = nodes_of(a).number
        lost: list[int] = []
        a.on_lost(lambda: lost.append(nodes_of(a).number))
        silence(shared_url, "a")
        assert await bury(b, "a")
        assert not await bury_again(b, number)

        [taken] = await b.claim_watches(100)
        [theirs] = await claim(b)
        assert (taken.pk, theirs.id) == (watch.pk, delivery.id)
        with pytest.raises(StaleWrite):
            await a.settle(settled(delivery))
        assert lost == [nodes_of(a).number]
        assert lost[0] > number
        with pytest.raises(StaleWrite):
            await move(a, watch, "processing", to=HERE)
        assert rows(shared_url, "SELECT count(*) FROM events") == [(1,)]
        assert rows(shared_url, "SELECT count(*) FROM attempts") == [(0,)]
        assert await a.claim_watches(100) == []
        assert await b.settle(settled(theirs)) is None
        assert {peer.name for peer in (await beat(b)).peers} == {"a", "b"}


async def bury_again(undertaker: SqlStore, number: int) -> bool:
    assert all(peer.number != number for peer in (await beat(undertaker)).peers)
    return False
