"""Keys of events on PostgreSQL follow the order of transactions, whoever writes them."""

from __future__ import annotations

from collections.abc import Iterator

import databases
import pytest
from sqlalchemy import text
from storing import follow, move, running

from notifier.store import postgres
from notifier.store.node import Member


@pytest.fixture
def url() -> Iterator[str]:
    with databases.database() as made:
        yield made


async def test_a_node_that_joins_while_others_write_numbers_as_they_do(url: str) -> None:
    """Its transaction is older than those whose events it sees; that is no other server's numbering."""
    async with running(url) as store:
        [watch] = await follow(store, "1")
        engine = postgres.engine(url, writable=True)
        try:
            with engine.connect() as connection, connection.begin():
                connection.execute(text("SELECT pg_current_xact_id()"))
                for number in range(3):
                    watch, _ = await move(store, watch, f"state {number}")
                joining = Member("other", 10.0)
                joining.join(connection)()
                assert joining.epoch == store._node.epoch
        finally:
            engine.dispose()
