"""What other nodes say through PostgreSQL: each message is a hint to look, none is needed for anything to happen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import psycopg
import structlog

from notifier.core.model import Json
from notifier.store.errors import reason
from notifier.store.node import CHANNEL
from notifier.store.postgres import parameters, stall_limit
from notifier.store.stalled import end_stalled

log = structlog.get_logger(__name__)

RETRY_DELAY = 1.0  # seconds between tries to connect


async def listen(url: str, heard: Callable[[Json], None], *, timeout: float) -> None:
    """Hand on what is said until cancelled; `{}` after a time in which nothing could be heard.

    Between messages it ends what nodes left half done, which holds up every connection but this one, that only reads.
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
    """Read a message; one that is not ours says nothing in particular."""
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
