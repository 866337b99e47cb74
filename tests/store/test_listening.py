"""Messages through PostgreSQL, from nodes and from any other client of the database."""

from __future__ import annotations

import asyncio
import json

import psycopg
from waits import until

from notifier.core.model import Json
from notifier.store import listen
from notifier.store.node import CHANNEL

STRANGE = ("", "hello", "null", "[1]", '{"changed": 1}', '{"changed": ["1"]}', '{"changed": {"1": 2}}')


async def test_what_a_stranger_says_is_no_more_than_a_hint_to_look(shared_url: str) -> None:
    """As if something had gone unheard; what nodes say is heard as they say it."""
    heard: list[Json] = []
    said = {"from": 7, "changed": [1, 2]}
    hearing = asyncio.create_task(listen(shared_url, heard.append, timeout=10.0), name="listen")
    try:
        await until(lambda: heard == [{}])
        with psycopg.connect(shared_url, autocommit=True) as stranger:
            for payload in (*STRANGE, json.dumps(said)):
                stranger.execute("SELECT pg_notify(%s, %s)", [CHANNEL, payload])
        await until(lambda: said in heard)
        assert heard == [{}] * (1 + len(STRANGE)) + [said]
    finally:
        hearing.cancel()
        await asyncio.wait({hearing})
