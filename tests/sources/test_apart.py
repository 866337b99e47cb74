"""A large document does not keep the loop: in a stream, as the answer to a poll of one task or many, or as a result."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from polled_upstream import Answer, PolledUpstream
from raw_upstream import UNTIL_CLOSED_HEAD, Peer, following, read_all, reply, serve, snapshot
from refused_threads import no_thread
from waits import longest_turn, until

from notifier.core.errors import Unavailable, Unreadable
from notifier.core.model import Observation, Phase
from notifier.runtime.metrics import Metrics
from notifier.sources.apart import AT_ONCE, Apart, Memory
from notifier.sources.document import MAX_VALUES, PIECE, parse
from notifier.sources.plan import SourceSettings
from notifier.sources.poll import PollSource
from notifier.sources.preset import Preset

MANY = b"[" + b"[]," * 300_000 + b"0]"  # a MiB, of which reading takes a tenth of a second of CPU
LONGEST = 0.04  # seconds of CPU that the loop's thread may take in a row; reading MANY there takes more than twice that


def event(state: str) -> bytes:
    return b"data: " + snapshot(state) + b"\n\n"


def test_reading_it_takes_long() -> None:
    """Otherwise the tests below would show nothing."""
    began = time.thread_time()
    parse(MANY)
    assert time.thread_time() - began > LONGEST


async def test_a_stream_with_large_snapshots_leaves_the_loop_to_others() -> None:
    """They are told in order, with the small ones between them."""
    parts = [
        event("queueing"),
        b'data: {"state": "processing", "x": ' + MANY + b"}\n\n",
        event("preparation"),
        b'data: {"state": "success", "x": ' + MANY + b"}\n\n",
    ]
    async with (
        serve(reply(UNTIL_CLOSED_HEAD, *parts)) as upstream,
        following(upstream.url, framing="event") as here,
        longest_turn(time.thread_time) as longest,
    ):
        states = ["queueing", "processing", "preparation", "success"]
        assert await read_all(await here.source.open("1")) == (states, None)
        assert here.reports == 4
        assert longest() < LONGEST


async def test_a_large_snapshot_that_cannot_be_read_is_skipped_like_a_small_one() -> None:
    """It is counted, and what comes behind it is told."""
    broken = b"data: " + MANY + b"]\n\n"
    async with (
        serve(reply(UNTIL_CLOSED_HEAD, broken, event("success"))) as upstream,
        following(upstream.url, framing="event") as here,
    ):
        stream = await here.source.open("1")
        assert (await anext(stream)).state == "success"
        assert here.unreadable == 1


async def test_a_reader_that_is_cancelled_meanwhile_loses_nothing() -> None:
    """As at the pause that ends the first burst of a stream."""
    data = b'data: {"state": "processing", "x": ' + MANY + b"}\n\n"
    async with (
        serve(reply(UNTIL_CLOSED_HEAD, b"id: 7\n", data, event("success"))) as upstream,
        following(upstream.url, framing="event") as here,
    ):
        stream, gate = await here.source.open("1"), threading.Event()
        before = asyncio.ensure_future(here.source.apart.read(AT_ONCE + 1, gate.wait))  # has its turn first
        task = asyncio.ensure_future(anext(stream))
        await until(lambda: stream.reading)
        task.cancel()
        await asyncio.wait({task})
        gate.set()
        await before
        await stream.settle()
        assert not stream.reading
        assert (await anext(stream)).state == "processing"
        assert stream.last_event_id == "7"
        assert await read_all(stream) == (["success"], None)


async def test_a_stream_that_is_closed_meanwhile_ends() -> None:
    """What was being read is told to nobody."""
    data = b'data: {"state": "processing", "x": ' + MANY + b"}\n\n"

    async def behave(peer: Peer) -> None:
        await peer.send(UNTIL_CLOSED_HEAD, data)
        await peer.gone()

    async with serve(behave) as upstream, following(upstream.url, framing="event") as here:
        stream, gate = await here.source.open("1"), threading.Event()
        before = asyncio.ensure_future(here.source.apart.read(AT_ONCE + 1, gate.wait))  # has its turn first
        task = asyncio.ensure_future(anext(stream, None))
        await until(lambda: stream.reading)
        stream.close()
        gate.set()
        await before
        assert await task is None


FIELDS: dict[str, Any] = {
    "transport": "poll",
    "url": "{base_url}/jobs/{id}",
    "paths": {"state": "status", "task_id": "id"},
    "states": {"running": ["busy"], "succeeded": ["ok"]},
    "batch": {"url": "{base_url}/jobs/batch", "items": "items"},
    "result_request": {"url": "{base_url}/jobs/{id}.files", "result": "url"},
}


@asynccontextmanager
async def polling(url: str) -> AsyncIterator[PollSource]:
    """Create a source of an upstream."""
    preset = Preset.model_validate(FIELDS | {"base_url": url})
    settings = SourceSettings(preset=preset, token=None, connect_timeout=30.0, max_event=16 << 20)
    source = PollSource(name="mine", settings=settings, user_agent="test", metrics=Metrics())
    try:
        yield source
    finally:
        await source.close()


async def test_large_answers_to_polls_leave_the_loop_to_others() -> None:
    """About one task, about many, and about a result."""
    many = MANY.decode()
    items = ", ".join(f'{{"id": "{number}", "status": "busy", "x": {x}}}' for number, x in enumerate([many, 1, 2]))
    async with PolledUpstream() as upstream, polling(upstream.url) as source:
        upstream.script("1", Answer(body=f'{{"id": "1", "status": "ok", "x": {many}}}'.encode()))
        upstream.script("batch", Answer(body=f'{{"items": [{items}]}}'.encode()))
        upstream.script("1.files", Answer(body=f'{{"url": "https://cdn.example/1", "x": {many}}}'.encode()))
        async with longest_turn(time.thread_time) as longest:
            answer = await source.look("1")
            assert answer.observation is not None
            assert answer.observation.phase is Phase.SUCCEEDED
            success = answer.observation
            assert longest() < LONGEST
        async with longest_turn(time.thread_time) as longest:
            found = (await source.look_at(["0", "1", "2", "3"])).found
            assert {task for task, each in found.items() if isinstance(each, Observation)} == {"0", "1", "2"}
            assert longest() < LONGEST
        async with longest_turn(time.thread_time) as longest:
            assert (await source.result("1", success)).urls == ("https://cdn.example/1",)
            assert longest() < LONGEST


async def test_large_documents_that_wait_have_one_bound() -> None:
    """A small one always passes, and afterwards there is room again."""
    memory = Memory(3 * AT_ONCE)
    apart = Apart(memory)
    assert await apart.read(2 * AT_ONCE, lambda: memory.used) == 2 * AT_ONCE
    with pytest.raises(Unavailable, match="too much memory"):
        await apart.read(4 * AT_ONCE, lambda: 1)
    assert await apart.read(AT_ONCE, lambda: memory.used) == 0


async def test_one_is_read_at_a_time() -> None:
    """Many large documents of a source do not crowd the loop's thread out."""
    apart, here = Apart(), 0

    def call() -> int:
        nonlocal here
        here += 1
        time.sleep(0.01)  # so that another one would be seen
        try:
            return here
        finally:
            here -= 1

    assert await asyncio.gather(*(apart.read(AT_ONCE + 1, call) for _ in range(5))) == [1] * 5


async def test_without_a_thread_it_is_read_all_the_same() -> None:
    """And what the call raises is raised."""
    apart = Apart()
    with no_thread():
        assert await apart.read(AT_ONCE + 1, lambda: 7) == 7
    with pytest.raises(Unreadable):
        await apart.read(AT_ONCE + 1, lambda: parse(b"{"))


def test_a_document_of_very_many_values_is_refused() -> None:
    """Each value takes far more memory than its bytes."""
    assert len(parse(b"[" + b"0," * (MAX_VALUES - 2) + b"0]")) == MAX_VALUES - 1
    for many in (b"0," * MAX_VALUES, b"[" * MAX_VALUES, b"{}," * (MAX_VALUES // 2)):
        with pytest.raises(Unreadable, match=f"more than {MAX_VALUES} values"):
            parse(b"[" + many + b"0]")


@pytest.mark.parametrize("before", range(4))
def test_a_large_document_is_read_like_a_small_one(before: int) -> None:
    """Characters of several bytes at the seam of two pieces, bytes that are none, and at the end half of one."""
    text = b" " * before + b'"' + "é✓𝄞".encode() * (PIECE // 9) + b"\xff" * 3 + b'"'
    assert parse(text) == "é✓𝄞" * (PIECE // 9) + "\ufffd" * 3
    assert parse(b'["' + b"x\\u0000\\ud800\\ud83d\\ude00" * PIECE + b'"]') == ["x\ufffd\ufffd\U0001f600" * PIECE]
    with pytest.raises(Unreadable):
        parse(text[:-5] + b"\xf0\x9f")
    assert parse(b'{"a": NaN, "b": [{"c": 1e999}], "d": "' + b"x" * PIECE + b'\\q"}')["b"] == [{"c": None}]
