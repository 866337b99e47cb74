"""Polls go over connections that are kept; one that the upstream closed meanwhile is replaced, once."""

from __future__ import annotations

import asyncio
import gc
import gzip
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from waits import until

from notifier.core.errors import SourceError, Unavailable
from notifier.runtime.metrics import Metrics
from notifier.sources.http import DIRECT, Reply, Trail, fetch
from notifier.sources.plan import SourceSettings
from notifier.sources.poll import PollSource
from notifier.sources.preset import Preset

BODY = b'{"status": "busy"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


@dataclass(slots=True)
class Upstream:
    """What it is asked, and by how many connections."""

    connections: int = 0
    requests: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def polling(answer: Callable[[int, int], bytes]) -> AsyncIterator[tuple[PollSource, Upstream]]:
    """Poll an upstream that answers by the number of the connection and of its request; nothing: it hangs up."""
    upstream = Upstream()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.connections += 1
        connection, number = upstream.connections, 0
        try:
            while True:
                upstream.requests.append(await reader.readuntil(b"\r\n\r\n"))
                number += 1
                reply = answer(connection, number)
                if not reply:
                    break
                writer.write(reply)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(serve(reader, writer), name="upstream"))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    preset = Preset.model_validate(
        {
            "transport": "poll",
            "url": "{base_url}/jobs/{id}",
            "base_url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            "paths": {"state": "status"},
            "states": {"running": ["busy"]},
        }
    )
    source = PollSource(
        name="x",
        settings=SourceSettings(preset=preset, token=None, connect_timeout=60),
        user_agent="test",
        metrics=Metrics(),
    )
    try:
        yield source, upstream
    finally:
        await source.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def state(source: PollSource) -> str | None:
    """Ask once; return the state."""
    answer = await source.look("1")
    assert answer.observation is not None
    return answer.observation.state


async def test_one_connection_is_enough() -> None:
    """As long as it is kept, also with an odd head."""
    odd = OK.replace(b"Content-Length", b"X : y\r\nContent-Length")
    async with polling(lambda _, number: odd if number == 2 else OK) as (source, upstream):
        for _ in range(3):
            assert await state(source) == "busy"
    assert (upstream.connections, len(upstream.requests)) == (1, 3)


async def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    """Without an error: nobody has answered."""
    async with polling(lambda _, number: OK if number == 1 else b"") as (source, upstream):
        for _ in range(3):
            assert await state(source) == "busy"
    assert upstream.connections == 3


async def test_it_is_replaced_once() -> None:
    """A new connection that is closed is an error."""
    async with polling(lambda connection, number: OK if (connection, number) == (1, 1) else b"") as (source, upstream):
        await source.look("1")
        with pytest.raises(Unavailable, match="closed the connection"):
            await source.look("1")
    assert upstream.connections == 2


async def test_a_reply_that_began_is_not_asked_for_again() -> None:
    """Its upstream is there, and has a fault."""
    async with polling(lambda _, number: OK if number == 1 else OK[:20]) as (source, upstream):
        await source.look("1")
        asking = asyncio.create_task(source.look("1"), name="look")
        await until(lambda: len(upstream.requests) == 2)
        await source.close()
        with pytest.raises(Unavailable):
            await asking
    assert upstream.connections == 1


async def test_packed_replies_are_read() -> None:
    """Nobody asked for them, and gateways send them all the same."""
    packed = gzip.compress(BODY)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with polling(lambda *_: head + packed) as (source, upstream):
        for _ in range(2):
            assert await state(source) == "busy"
    assert upstream.connections == 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nbusy", "Unavailable"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nbusy", "Unreadable"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", "Unreadable"),
    ],
)
async def test_an_answer_that_is_no_state_leaves_nothing_for_a_garbage_collection(reply: bytes, error: str) -> None:
    """Collections are rare: an upstream that is down would fill the memory with its pages until then."""

    async def fail(asking: Coroutine[Any, Any, object]) -> str:
        try:
            await asking
        except SourceError as exc:
            return type(exc).__name__
        return "a state"

    gc.collect()
    gc.disable()
    try:
        async with polling(lambda *_: reply) as (source, _):
            assert await fail(source.look("1")) == error
            if error == "Unavailable":  # a stream is refused like that, too
                request = source._plan.template.fill("1")
                assert await fail(fetch(source._pool, request, DIRECT, Trail())) == error
            assert not any(isinstance(each, Reply) for each in gc.get_objects())
    finally:
        gc.enable()
