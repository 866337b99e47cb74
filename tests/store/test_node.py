"""A node of a PostgreSQL that loses its row, and the one it comes back as."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import databases
import pytest
from store_rig import APP, claim, follow, for_operators, move, record, running

from notifier.core.errors import StaleWrite
from notifier.store import EventFilter, postgres
from notifier.store.node import Member, leave


@pytest.fixture
def url() -> Iterator[str]:
    """Make a database."""
    with databases.database() as made:
        yield made


def test_a_join_that_came_to_nothing_gives_no_number(url: str) -> None:
    """The next node has it: two under one number would write what the other owns."""
    engine = postgres.PostgresEngine(url, writable=True)
    first, second = Member("first", 10.0), Member("second", 10.0)
    with engine.connect() as connection:
        with suppress(StaleWrite), connection.begin():
            first.join(connection)
            raise StaleWrite
        with connection.begin():
            joined = second.join(connection)
        joined()
    assert first.number != second.number


async def test_what_operators_are_told_outlives_the_node(url: str) -> None:
    """It rests on nothing that the node owned; a step of a watch does."""
    async with running(url) as store, running(url) as other:
        [watch] = await follow(store, "1")
        number = store._node.number
        await other._writer.call(lambda connection: leave(connection, number))
        told = record(for_operators(), APP)
        assert [delivery.event_id for delivery in await store.outbox.commit(None, [told])] == [told.id]
        assert [event["id"] for event in await store.lists.events(EventFilter(), limit=10)] == [told.id]
        assert store._node.number != number
        with pytest.raises(StaleWrite):
            await move(store, watch, "processing")


async def test_what_was_not_committed_is_no_sign_of_life(url: str) -> None:
    """The lease runs from the last transaction that the others can see; one that was rolled back is none."""
    async with running(url) as store, running(url) as other:
        [watch] = await follow(store, "1")
        await other._writer.call(lambda connection: connection.execute("UPDATE watches SET sequence = 7"))
        renewed = store._writer.renewed
        with pytest.raises(StaleWrite):
            await move(store, watch, "processing")
        assert store._writer.renewed == renewed
        await claim(store)
        assert store._writer.renewed > renewed
