"""Nodes that share a PostgreSQL give heartbeats, and take over the rows of a node that is declared dead."""

from __future__ import annotations

import asyncio
import threading

import psycopg
import pytest
from statements import before_transactions
from store_rig import T0, claim, follow, for_operators, move, observed, record, recorded, running, settled, wanted
from takeover import buried_in_between

from notifier.core.callback import Callback
from notifier.core.endpoint import disabling
from notifier.core.errors import StaleWrite
from notifier.core.model import Address
from notifier.store import CallbackClaim, ChangedEndpoint, EndpointChange, NodeList, Nodes, Store

HERE = (Address(endpoint="app", take=True),)


def nodes_of(store: Store) -> Nodes:
    assert store.nodes is not None
    return store.nodes


async def beat(store: Store, held: int | None = None) -> NodeList:
    return await nodes_of(store).beat(held=held, status={})


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def silence(url: str, name: str) -> None:
    """Let it seem that a node has said nothing for an hour."""
    execute(url, f"UPDATE nodes SET seen_at = seen_at - 3600000000 WHERE name = '{name}'")


async def bury(undertaker: Store, name: str) -> bool:
    [peer] = [peer for peer in (await beat(undertaker)).peers if peer.name == name]
    return await nodes_of(undertaker).bury(peer)


async def test_what_is_held_and_what_is_free_add_up_at_every_moment(shared_url: str) -> None:
    """Claims and releases count what they move; a sign of life that comes in between does not undo it."""
    async with running(shared_url, name="a") as a, running(shared_url, name="b") as b:
        await a.watches.apply([wanted(str(n)) for n in range(10)], origin="api", now=T0)
        mine = await a.watches.claim(6)
        for held, free, count in ((None, 4, 6), (6, 4, 6)):
            census = await beat(a, held)
            assert {peer.name: peer.held for peer in census.peers} == {"a": count, "b": 0}
            assert census.unclaimed == free
        await a.watches.release(mine[:2])
        await b.watches.claim(100)
        await a.watches.apply([wanted("orphan", source="elsewhere")], origin="api", now=T0)
        for sources, free in ((None, 1), (["vidu"], 0), (["vidu", "elsewhere"], 1)):
            assert (await nodes_of(b).beat(held=None, status={}, sources=sources)).unclaimed == free
        census = await nodes_of(a).beat(held=None, status={}, sources=["vidu"])
        assert {peer.name: peer.held for peer in census.peers} == {"a": 4, "b": 6}
        assert census.unclaimed == 0


async def test_who_leaves_is_told_of_and_frees_what_it_followed(shared_url: str) -> None:
    """At once, while it goes on to give signs of life; nobody is to wait for it to end."""
    async with running(shared_url, name="a") as a, running(shared_url, name="b") as b:
        await follow(a, "1", "2")
        await nodes_of(a).release_all()
        census = await beat(b)
        assert [(peer.name, peer.leaving, peer.held) for peer in census.peers] == [("a", True, 0), ("b", False, 0)]
        assert len(await b.watches.claim(100)) == 2
    assert await asyncio.to_thread(rows, shared_url, "SELECT count(*) FROM nodes") == [(0,)]


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


async def test_who_lives_is_not_buried(shared_url: str) -> None:
    """Its row at the moment of the burial counts, not the row that was read before."""
    async with running(shared_url, name="a") as a, running(shared_url, name="b") as b:
        silence(shared_url, "a")
        [peer] = [peer for peer in (await beat(b)).peers if peer.name == "a"]
        await beat(a)
        assert not await nodes_of(b).bury(peer)


async def test_the_buried_write_nothing_and_come_back_with_nothing(shared_url: str) -> None:
    """Its steps and settlements come to nothing, others have its work; it goes on under another number."""
    lost: list[int] = []  # its numbers after it joined again
    async with (
        running(shared_url, name="a", lost=lambda: lost.append(nodes_of(a).number)) as a,
        running(shared_url, name="b") as b,
    ):
        [watch] = await follow(a, "1")
        watch, [delivery] = await move(a, watch, "queueing", to=HERE)
        number = nodes_of(a).number
        silence(shared_url, "a")
        assert await bury(b, "a")
        assert not await bury_again(b, number)

        [taken] = await b.watches.claim(100)
        [theirs] = await claim(b)
        assert (taken.pk, theirs.id) == (watch.pk, delivery.id)
        with pytest.raises(StaleWrite):
            await a.outbox.settle(settled(delivery))
        assert lost == [nodes_of(a).number]
        assert lost[0] > number
        with pytest.raises(StaleWrite):
            await move(a, watch, "processing", to=HERE)
        assert rows(shared_url, "SELECT count(*) FROM events") == [(1,)]
        assert rows(shared_url, "SELECT count(*) FROM attempts") == [(0,)]
        assert await a.watches.claim(100) == []
        assert await b.outbox.settle(settled(theirs)) is None
        assert {peer.name for peer in (await beat(b)).peers} == {"a", "b"}


async def test_what_waits_while_a_node_finds_itself_buried_rests_on_what_it_had(shared_url: str) -> None:
    """A verdict on a delivery that it claims again at that moment does not settle the new claim."""
    begun, go = threading.Event(), threading.Event()

    def held_up() -> None:
        begun.set()
        go.wait(60)

    async with running(shared_url, name="a") as a, running(shared_url, name="b") as b:
        [watch] = await follow(a, "1")
        await move(a, watch, "queueing", to=(Address(endpoint="app", take=False),))
        [delivery] = await claim(a)
        silence(shared_url, "a")
        assert await bury(b, "a")
        with before_transactions(a._database.writing, held_up):
            claiming = asyncio.create_task(claim(a))
            assert await asyncio.to_thread(begun.wait, 60)
        verdict = asyncio.create_task(a.outbox.settle(settled(delivery)))
        await asyncio.sleep(0)  # it waits for the next group
        go.set()
        [again] = await claiming
        assert again.id == delivery.id
        with pytest.raises(StaleWrite):
            await verdict
        assert rows(shared_url, "SELECT count(*) FROM attempts") == [(0,)]
        assert await a.outbox.settle(settled(again)) is None


async def bury_again(undertaker: Store, number: int) -> bool:
    assert all(peer.number != number for peer in (await beat(undertaker)).peers)
    return False


async def test_what_was_taken_a_moment_before_the_burial_is_not_handed_out(shared_url: str) -> None:
    """A group is run singly, for the fault of one: whatever the others took is another node's before they have it."""
    tries: list[int] = []
    called = Callback(url="https://example.com/")
    to = (Address(endpoint="app", take=False), Address(endpoint=called.name, take=False))

    def fail(_: object) -> None:
        tries.append(len(tries))
        raise LookupError("my own")

    lost: list[int] = []  # its numbers after it joined again
    async with (
        running(shared_url, name="a", lost=lambda: lost.append(nodes_of(a).number)) as a,
        running(shared_url, name="b") as b,
    ):
        await a.watches.apply([wanted("1", callback=called), wanted("2"), wanted("3")], origin="api", now=T0)
        one, two = await a.watches.claim(2)
        await move(a, one, "queueing", to=to)
        two, [first] = await move(a, two, "queueing", to=HERE)
        two, _ = await move(a, two, "processing", to=HERE)
        step = observed(one, "queueing", T0)
        step = observed(step.watch, "processing", T0)
        with buried_in_between(a, b, before=lambda: len(tries) == 2):
            *taken, failed, number = await asyncio.gather(
                a.watches.claim(10),
                claim(a),
                a.endpoints.take_callbacks(10, now=T0),
                a.outbox.settle(settled(first)),
                a.outbox.commit(step.watch, recorded(step, [Address(endpoint="new")])),
                a.outbox.commit(None, [record(for_operators(), [Address(endpoint="ops")])]),
                a.endpoints.change(
                    EndpointChange(name="app", fingerprint="f", update=disabling(T0, "http_410", T0)),
                    [record(for_operators(), [Address(endpoint="ops")])],
                ),
                a._writer.call(fail),
                a._writer.call(lambda _: nodes_of(a).number),
                return_exceptions=True,
            )
        assert isinstance(failed, LookupError)
        assert lost == [number]
        changed = taken.pop()
        assert isinstance(changed, ChangedEndpoint)
        assert (changed.done, changed.deliveries) == (True, ())
        assert taken == [[], [], CallbackClaim(), None, [], []]

        assert len(await b.watches.claim(10)) == 3
        assert [callback for callback, _ in (await b.endpoints.take_callbacks(10, now=T0)).taken] == [called]
        theirs = await claim(b, "app", "new", "ops", called.name)
        assert [delivery.endpoint for delivery in theirs] == ["app", "app", "new", "ops", "ops", called.name]
