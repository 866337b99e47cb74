"""Keys of events on PostgreSQL follow the order of transactions, whichever node writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import databases
import pytest
from store_rig import T0, follow, for_operators, move, record, running

from notifier.core.endpoint import disabling
from notifier.store import EndpointChange, postgres
from notifier.store.keys import SHIFT
from notifier.store.node import Member


@pytest.fixture
def url() -> Iterator[str]:
    with databases.database() as made:
        yield made


async def test_a_node_that_joins_while_others_write_numbers_as_they_do(url: str) -> None:
    """Its transaction is older than those whose events it sees; that is no other server's numbering."""
    async with running(url) as store:
        [watch] = await follow(store, "1")
        with postgres.PostgresEngine(url, writable=True).begin() as connection:
            connection.execute("SELECT pg_current_xact_id()")
            for number in range(3):
                watch, _ = await move(store, watch, f"state {number}")
            joining = Member("other", 10.0)
            joining.join(connection)()
            assert joining.epoch == store._node.epoch


async def test_what_happens_to_endpoints_and_watches_shares_a_transaction(url: str) -> None:
    """Each of their events has a key of its own there: a group that falls apart costs a transaction for each."""
    change = EndpointChange(name="app", fingerprint="f", update=disabling(T0, "http_410", T0))
    async with running(url) as store:
        [watch] = await follow(store, "1")
        await asyncio.gather(
            store.endpoints.change(change, [record(for_operators()), record(for_operators())]),
            move(store, watch, "queueing"),
            store.outbox.commit(None, [record(for_operators())]),
        )
        keys = await store._reader.page(lambda connection: connection.execute("SELECT pk FROM events").scalars())
        assert len(keys) == 4
        assert len({key >> SHIFT for key in keys}) == 1
