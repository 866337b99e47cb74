"""The next connection releases the locks of a connection that was given up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from database_proxy import Proxy
from servers import NAME, Server

from notifier.store.postgres import Sessions

LOCK = 7


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """Put something before the server that can fall silent."""
    made = Proxy(server.port)
    yield made
    made.close()


def connect(port: int) -> Any:
    return psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/{NAME}", autocommit=True)


def abandon(connection: Any, proxy: Proxy) -> None:
    """Close a connection without the server noticing; later ones pass."""
    proxy.swallow()
    connection.close()
    proxy.forsake()


def holders(server: Server) -> list[int]:
    """Return the sessions that hold the lock."""
    found = server.query(f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK} AND granted", NAME)
    return [pid for (pid,) in found]


def test_a_session_in_mid_pipeline_is_ended(server: Server, proxy: Proxy) -> None:
    """It waits for the rest of its statements, for which the server has no limit of its own."""
    sessions = Sessions()
    connection = connect(proxy.port)
    sessions.opened(connection)
    connection.pgconn.enter_pipeline_mode()
    for statement in (b"BEGIN", b"SELECT pg_advisory_xact_lock(%d)" % LOCK):
        connection.pgconn.send_query_params(statement, None)
    connection.pgconn.send_flush_request()
    connection.pgconn.flush()
    server.wait(lambda: bool(holders(server)))
    abandon(connection, proxy)
    next_ = connect(proxy.port)
    sessions.opened(next_)
    server.wait(lambda: not holders(server))
    next_.close()


def test_a_session_at_work_is_left_until_it_waits_again(server: Server, proxy: Proxy) -> None:
    """It may be at its COMMIT; the session that waits for its locks then sees the result."""
    sessions = Sessions()
    holder, waiter = connect(server.port), connect(proxy.port)
    sessions.opened(waiter)
    holder.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    waiter.pgconn.send_query(b"BEGIN; SELECT pg_advisory_lock(%d)" % LOCK)
    server.wait(lambda: server.query("SELECT count(*) FROM pg_locks WHERE NOT granted") == [(1,)])
    before = waiter.info.backend_pid
    abandon(waiter, proxy)
    second = connect(proxy.port)
    sessions.opened(second)
    second.close()
    holder.close()
    server.wait(lambda: holders(server) == [before])
    third = connect(proxy.port)
    sessions.opened(third)
    server.wait(lambda: not holders(server))
    third.close()


def test_connections_in_use_are_left_alone(server: Server, proxy: Proxy) -> None:
    """Two of one client at a time, as long as both want it."""
    sessions = Sessions()
    connections = [connect(proxy.port) for _ in range(2)]
    for connection in connections:
        sessions.opened(connection)
    assert [connection.execute("SELECT 1").fetchone() for connection in connections] == [(1,), (1,)]
    for connection in connections:
        connection.close()
