"""Two nodes of a PostgreSQL that want, or forget, the same watch in the same moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import databases
import psycopg
import pytest
from store_rig import LATER, T0, follow, move, running, wanted

from notifier.store import callbacks
from notifier.store.connection import Connection

AGAIN = "UPDATE watches SET removed_at = NULL"
FORGOTTEN = "DELETE FROM watches"


@pytest.fixture
def url() -> Iterator[str]:
    """Make a database."""
    with databases.database() as made:
        yield made


def between(monkeypatch: pytest.MonkeyPatch, url: str, statement: str) -> None:
    """Let another node do something once, after a watch was read and before it is written."""
    keep, left = callbacks.keep, [statement]

    def kept(connection: Connection, *arguments: Any) -> None:
        while left:
            with psycopg.connect(url, autocommit=True) as other:
                other.execute(left.pop().encode())
        keep(connection, *arguments)

    monkeypatch.setattr(callbacks, "keep", kept)


async def test_what_another_follows_already_is_not_taken_from_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wanted the watch again a moment before, and may have taken a step of it since."""
    async with running(url) as store:
        [watch] = await follow(store, "1")
        await store.watches.remove("vidu", "1", now=T0)
        number = store._node.number
        between(monkeypatch, url, f"{AGAIN}, owner = {number}")
        applied = await store.watches.apply([wanted("1")], origin="api", now=LATER)
        assert (applied.added, applied.unchanged) == ((), 1)
        await move(store, watch, "processing")  # it is this node's as before


async def test_what_another_forgets_is_wanted_as_new(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch without a row is not reported as followed."""
    async with running(url) as store:
        await follow(store, "1")
        await store.watches.remove("vidu", "1", now=T0)
        between(monkeypatch, url, FORGOTTEN)
        assert len((await store.watches.apply([wanted("1")], origin="api", now=LATER)).added) == 1
        assert len(await store.watches.claim(10)) == 1
