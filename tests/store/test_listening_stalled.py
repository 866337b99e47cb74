"""A node that stops in the middle of a transaction holds up nobody for long."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext, suppress

import psycopg
import pytest
from waits import until

from notifier.store.listening import end_stalled
from notifier.store.postgres import stall_limit

SHORT = 0.01  # seconds


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """End at once what stops."""
    monkeypatch.setattr("notifier.store.postgres.LEAST_STALL", SHORT)


def state(watching: psycopg.Connection[tuple[object, ...]], pid: int) -> tuple[object, ...] | None:
    query = "SELECT state, wait_event FROM pg_stat_activity WHERE pid = %s"
    return watching.execute(query, [pid]).fetchone()


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("table", ["counters", "alembic_version"])
@pytest.mark.parametrize("sending", [True, False])
async def test_a_transaction_that_stopped_is_ended(shared_url: str, table: str, sending: bool) -> None:
    """While it was sent, or before COMMIT: others would wait for it for ever. One that is no node's is left alone."""
    column = "value" if table == "counters" else "version_num"
    with (
        suppress(psycopg.OperationalError),
        psycopg.connect(shared_url) as stopped,
        psycopg.connect(shared_url, autocommit=True) as watching,
        stopped.pipeline() if sending else nullcontext(),
    ):
        stopped.execute(f"UPDATE {table} SET {column} = {column}".encode())
        if sending:
            stopped.pgconn.send_flush_request()
            while stopped.pgconn.flush():
                pass
        pid = stopped.info.backend_pid
        there = ("active" if sending else "idle in transaction", "ClientRead")
        await until(lambda: state(watching, pid) == there)
        await asyncio.sleep(SHORT * 2)  # the clock of the server has to go on
        async with await psycopg.AsyncConnection.connect(shared_url, autocommit=True) as connection:
            ended = table == "counters"
            assert await end_stalled(connection, SHORT) == ended
            await until(lambda: state(watching, pid) == (None if ended else there))


def test_whoever_keeps_others_waiting_has_less_time_than_the_dead() -> None:
    """Others must not seem dead because of it; but a busy machine is no reason either."""
    assert stall_limit(10) == 2.5
    assert stall_limit(1) == 2
