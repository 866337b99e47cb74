"""However many watches are wanted at once, no statement of a transaction is long in coming."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from statements import noted
from store_rig import T0, relist, running, wanted

from notifier.store import watches

MANY = 2 * watches.PIECE + 500


@pytest.fixture
def ran() -> Iterator[list[tuple[str, Any]]]:
    """Note what each statement is given."""
    with noted() as found:
        yield found


async def test_a_client_that_prepares_much_is_not_taken_for_dead(url: str, ran: list[tuple[str, Any]]) -> None:
    """A server waits seconds for one that has begun a transaction; a driver prepares all its rows before it sends.

    SQLite is no server, and takes them all at once.
    """
    async with running(url) as store:
        for labels in ({}, {"team": "a"}):
            many = [wanted(str(number), labels=labels) for number in range(MANY)]
            await store.watches.apply(many, origin="file", now=T0)
        claimed = await store.watches.claim(MANY)
        assert len(claimed) == MANY
        await store.watches.release(claimed)
        assert len((await relist(store))[1]) == MANY
    rows = max(len(given) for _, given in ran if isinstance(given, list))
    assert rows == (MANY if url.startswith("sqlite") else watches.PIECE)
