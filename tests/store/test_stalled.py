"""A node that stops in the middle of a transaction holds up nobody for long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import databases
import psycopg
import pytest

from notifier.store.postgres import stall_limit
from notifier.store.stalled import end_stalled

SHORT = 0.01  # seconds


@pytest.fixture
def shared_url() -> Iterator[str]:
    """Name a database with tables."""
    databases.require_server()
    with databases.database() as made:
        yield made


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """End at once what stops."""
    monkeypatch.setattr("notifier.store.postgres.LEAST_STALL", SHORT)


def state(watching: psycopg.Connection[tuple[object, ...]], pid: int) -> tuple[object, ...] | None:
    query = "SELECT state, wait_event FROM pg_stat_activity WHERE pid = %s"
    return watching.execute(query, [pid]).fetchone()


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(("table", "ended"), [("counters", 1), ("alembic_version", 0)])
async def test_a_transaction_that_stopped_while_it_was_sent_is_ended(shared_url: str, table: str, ended: int) -> None:
    """A server would wait for its rest for ever; one that is no node's is nobody's business."""
    column = "value" if table == "counters" else "version_num"
    with (
        psycopg.connect(shared_url) as stopped,
        psycopg.connect(shared_url, autocommit=True) as watching,
        suppress(psycopg.OperationalError),
        stopped.pipeline(),
    ):
        stopped.execute(f"UPDATE {table} SET {column} = {column}".encode())
        stopped.pgconn.send_flush_request()
        while stopped.pgconn.flush():
            pass
        pid = stopped.info.backend_pid
        async with asyncio.timeout(30):
            while state(watching, pid) != ("active", "ClientRead"):  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.01)
        await asyncio.sleep(SHORT * 2)  # the clock of the server has to go on
        async with await psycopg.AsyncConnection.connect(shared_url, autocommit=True) as connection:
            assert await end_stalled(connection, SHORT) == ended
            async with asyncio.timeout(30):
                while ended and state(watching, pid) is not None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert (state(watching, pid) is None) == bool(ended)


def test_whoever_keeps_others_waiting_has_less_time_than_the_dead() -> None:
    """Others must not seem dead because of it; but a busy machine is no reason either."""
    assert stall_limit(10) == 2.5
    assert stall_limit(1) == 1
