"""Transactions of nodes that stopped in the middle: ended, lest everybody waits for what they have locked.

PostgreSQL's own limit (`idle_in_transaction_session_timeout`) does not reach them all: not those that stopped while
they sent, since statements go out many at a time (`prepared.together`), nor those whose client sent a Flush when all
was answered, as psycopg does at the end of a pipeline. The kernel of a stopped process, or of a machine that is
suspended, goes on acknowledging.
"""

from __future__ import annotations

from typing import Any

import psycopg
import structlog

from notifier.store.postgres import stall_limit

log = structlog.get_logger(__name__)

_END = """
SELECT application_name, pg_terminate_backend(pid)
FROM pg_stat_activity AS session
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
  AND wait_event_type = 'Client' AND backend_xid IS NOT NULL
  AND state_change < clock_timestamp() - make_interval(secs => %s)
  AND EXISTS (
    SELECT FROM pg_locks AS held
    WHERE held.pid = session.pid AND held.mode = 'RowExclusiveLock'
      AND held.relation IN (to_regclass('nodes'), to_regclass('counters'))
  )
"""


async def end_stalled(connection: psycopg.AsyncConnection[Any], timeout: float) -> int:
    """End the transactions that nodes keep waiting for too long; return how many."""
    ended = await (await connection.execute(_END, [stall_limit(timeout)])).fetchall()
    for name, done in ended:
        log.warning(
            "node.stalled", application=name, ended=done, hint="it stopped in a transaction that others wait for"
        )
    return len(ended)
