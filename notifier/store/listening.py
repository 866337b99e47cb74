"""Messages of other nodes, by NOTIFY. Each is a hint to look now; nothing depends on its arrival."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import psycopg
import structlog

from notifier.core.model import Json
from notifier.store.errors import reason
from notifier.store.node import CHANNEL
from notifier.store.postgres import parameters, stall_limit

log = structlog.get_logger(__name__)

RETRY_DELAY = 1.0  # seconds between tries to connect


async def listen(url: str, heard: Callable[[Json], None], *, timeout: float) -> None:
    """Call `heard` with each message until cancelled; with `{}` after messages may have been missed.

    Between messages it ends stalled transactions. This connection can: it only reads, so it waits for nobody's locks.
    """
    given = parameters(url)
    deaf = False
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(**given, autocommit=True) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                if deaf:
                    log.info("node.listening")
                deaf = False
                heard({})
                while True:
                    async for message in connection.notifies(timeout=stall_limit(timeout) / 4):
                        heard(_read(message.payload))
                    await end_stalled(connection, timeout)
        except psycopg.Error as exc:
            if not deaf:
                log.warning("node.deaf", error=reason(exc), hint="looking for news every second instead")
            deaf = True
        await asyncio.sleep(RETRY_DELAY)


def _read(payload: str) -> Json:
    """Parse a message; return `{}` for one of another program."""
    try:
        said = json.loads(payload)
    except ValueError:
        return {}
    if not isinstance(said, dict):
        return {}
    changed = said.get("changed")
    return said if changed is None or _is_keys(changed) else {}


def _is_keys(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, int) for each in value)


# -- Transactions of nodes that stopped in the middle. They are ended, so that nobody waits for their locks for ever.
#
# PostgreSQL's own limit (`idle_in_transaction_session_timeout`) misses some of them. It misses a node that stopped
# while it sent, since statements go out many at a time (`pipeline.py`). It also misses a client that sent a Flush
# after every answer. TCP does not notice either: the kernel of a stopped
# process, or of a suspended machine, still acknowledges packets.

_END_STALLED = """
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
    """End the transactions of nodes that stopped in the middle; return their number."""
    ended = await (await connection.execute(_END_STALLED, [stall_limit(timeout)])).fetchall()
    for name, done in ended:
        log.warning(
            "node.stalled", application=name, ended=done, hint="it stopped in a transaction that others wait for"
        )
    return len(ended)
