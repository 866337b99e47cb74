"""No upstream keeps the loop for itself, whatever it sends and however fast; large snapshots have bounds."""

from __future__ import annotations

import asyncio
import gzip
import random
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from multidict import CIMultiDict
from raw_upstream import (
    CHUNKED_HEAD,
    ONE,
    STREAM_HEAD,
    TWO,
    UNTIL_CLOSED_HEAD,
    Peer,
    answer,
    following,
    read_all,
    reply,
    serve,
    snapshot,
    stay,
)
from waits import longest_turn, slowness
from yarl import URL

from notifier.core.errors import Unavailable, Unreadable
from notifier.runtime.http1 import Pool
from notifier.sources.apart import SMALL, Memory
from notifier.sources.body import SHARE, SLOWEST, TURN_BYTES, TURN_SECONDS, Turns
from notifier.sources.connection import Connection
from notifier.sources.http import new_pool
from notifier.sources.request import Request

pytestmark = pytest.mark.unmeasured

MIB = 1 << 20
LONGEST = 0.1  # seconds of CPU after which others had a turn, on a slow machine; a turn takes about 5 ms
GZIP_HEAD = STREAM_HEAD + b"Content-Encoding: gzip\r\n\r\n"


@pytest.mark.parametrize("line", [b": keep\n", b"\n", b":\n", b"id: 1\n\n", b"data\n\n", b"event: x\n", b"data:x\n\n"])
@pytest.mark.parametrize("framing", ["event", "line"])
async def test_a_flood_leaves_the_loop_to_others(line: bytes, framing: str) -> None:
    """Megabytes that bring nothing; the state behind them is read."""
    flood = line * (MIB // len(line))
    async with (
        serve(reply(UNTIL_CLOSED_HEAD, flood, b"\n\n" + TWO + b"\n\n")) as upstream,
        following(upstream.url, framing=framing) as here,
        longest_turn() as longest,
    ):
        assert await read_all(await here.source.open("1")) == (["success"], None)
        assert longest() < LONGEST * slowness()


@pytest.mark.parametrize(
    "line", [b": keep\n", b"\n", b"data: " + b"x" * 100 + b"\n\n"], ids=["comments", "blank lines", "data"]
)
async def test_a_bomb_is_not_unpacked(line: bytes) -> None:
    """A few KiB that unpack to megabytes: the loop stays free, and the stream ends at the bound on the ratio."""
    bomb = gzip.compress(ONE + b"\n\n" + line * (64 * MIB // len(line)), 9)
    async with (
        serve(reply(GZIP_HEAD, bomb)) as upstream,
        following(upstream.url, framing="event") as here,
        longest_turn() as longest,
    ):
        states, error = await read_all(await here.source.open("1"))
        assert longest() < LONGEST * slowness()
    assert states == ["processing"] or line.startswith(b"data")
    assert isinstance(error, Unreadable)
    assert "200 times its size" in str(error)


async def test_a_bomb_in_place_of_a_snapshot_is_not_unpacked() -> None:
    """The same in a reply that is one JSON snapshot."""
    bomb = gzip.compress(b" " * (64 * MIB) + b"{}", 9)
    headers = ["Content-Type: application/json", "Content-Encoding: gzip"]
    async with (
        serve(reply(answer("200 OK", *headers, body=bomb))) as upstream,
        following(upstream.url, max_event=64 * MIB) as here,
        longest_turn() as longest,
    ):
        with pytest.raises(Unreadable, match="200 times"):
            await here.source.open("1")
        assert longest() < LONGEST * slowness()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_stream_is_read_event_by_event(encoding: str) -> None:
    """Some upstreams compress whatever is asked; each event that they flush is told as it comes."""
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    told = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.send(CHUNKED_HEAD[:-2] + f"Content-Encoding: {encoding}\r\n\r\n".encode())
        await peer.chunk(packer.compress(ONE + b"\n") + packer.flush(zlib.Z_SYNC_FLUSH))
        await told.wait()
        await peer.chunk(packer.compress(TWO + b"\n") + packer.flush())
        await peer.send(b"0\r\n\r\n")
        peer.close()

    async with serve(behave) as upstream, following(upstream.url) as here:
        stream = await here.source.open("1")
        assert (await anext(stream)).state == "processing"
        told.set()
        assert await read_all(stream) == (["success"], None)


async def test_a_long_compressed_stream_is_no_bomb() -> None:
    """Snapshots that hardly differ, flushed one by one, pack well; that is not what the bound is for."""
    packer = zlib.compressobj(wbits=31)
    parts = [
        packer.compress(b"data: " + snapshot("processing")[:-1] + b',"n":%d}\n' % n) + packer.flush(zlib.Z_SYNC_FLUSH)
        for n in range(20_000)
    ]
    async with (
        serve(reply(GZIP_HEAD, b"".join(parts) + packer.compress(TWO + b"\n") + packer.flush())) as upstream,
        following(upstream.url) as here,
    ):
        states, error = await read_all(await here.source.open("1"))
    assert (states[-1], error) == ("success", None)


@pytest.mark.parametrize("framing", ["event", "line"])
async def test_a_snapshot_as_large_as_allowed_is_read(framing: str) -> None:
    """A result inline, as base64; larger ones end the stream with a clear error."""
    text = random.Random(1).randbytes(3 * MIB).hex()[: 5 * MIB]
    body = ONE + b'\n\ndata: {"state":"success","b64_json":"' + text.encode() + b'"}\n\n'
    async with serve(reply(UNTIL_CLOSED_HEAD, body)) as upstream:
        async with following(upstream.url, framing=framing, max_event=6 * MIB) as here, longest_turn() as longest:
            assert await read_all(await here.source.open("1")) == (["processing", "success"], None)
        assert longest() < LONGEST * slowness()
        async with following(upstream.url, framing=framing, max_event=4 * MIB) as here:
            states, error = await read_all(await here.source.open("1"))
    assert states == ["processing"]
    assert isinstance(error, Unreadable)
    assert str(4 * MIB) in str(error)


async def test_large_snapshots_of_all_streams_have_one_bound() -> None:
    """A stream that finds no memory is dropped, to be tried again; what others hold stays, and is given back."""
    memory = Memory(3 * MIB)
    part = b'data: {"state":"' + b"x" * 2 * MIB

    async def connected(pool: Pool) -> Connection:
        request = Request(method="GET", url=URL(upstream.url), headers=CIMultiDict())
        connection = Connection(request, pool=pool, framing="event", max_event=8 * MIB, memory=memory)
        await connection.connect()
        return connection

    async def behave(peer: Peer) -> None:
        await peer.send(UNTIL_CLOSED_HEAD, part)
        await peer.gone()

    async with serve(behave) as upstream:
        pool = new_pool()
        first, second = await connected(pool), await connected(pool)
        while memory.used < len(part):
            await first.receive()

        async def read_to_the_end() -> None:
            while await second.receive() is not None:
                pass

        with pytest.raises(Unavailable, match="too much memory"):
            await read_to_the_end()
        assert memory.used == len(part)
        first.close()
        second.close()
        assert memory.used == 0


def test_memory_is_counted_both_ways() -> None:
    """What does not fit changes nothing; what gets smaller always fits."""
    memory = Memory(10 * SMALL)
    assert memory.change(0, 8 * SMALL)
    assert not memory.change(0, 3 * SMALL)
    assert memory.used == 8 * SMALL
    assert memory.change(8 * SMALL, SMALL)
    assert memory.change(0, 9 * SMALL)
    assert memory.change(9 * SMALL, 0)
    assert memory.used == SMALL


class Noting(Turns):
    """Notes each turn after which a stream had to rest."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def rest(self, worked: float, now: float) -> float:
        self.seconds.append(worked)
        return super().rest(worked, now)


@asynccontextmanager
async def connected(turns: Turns, *parts: bytes) -> AsyncIterator[Connection]:
    """Yield a connection to an upstream that sends these parts and stays."""
    async with serve(stay(*parts)) as upstream:
        request = Request(method="GET", url=URL(upstream.url), headers=CIMultiDict())
        connection = Connection(request, pool=new_pool(), framing="event", max_event=MIB, turns=turns)
        await connection.connect()
        yield connection
        connection.close()


async def test_what_is_waited_for_is_no_work() -> None:
    """A hundred streams of a source tell their state with the head of the reply, and each state takes a while to be
    saved. All are read on at once: they did not use the loop meanwhile, and owe it no rest."""
    turns, saved = Noting(), asyncio.Event()

    async def follow(connection: Connection) -> None:
        assert await connection.receive()
        await saved.wait()
        await connection.receive()

    async with AsyncExitStack() as stack:
        part = UNTIL_CLOSED_HEAD + ONE + b"\n\n"
        connections = [await stack.enter_async_context(connected(turns, part)) for _ in range(100)]
        tasks = [asyncio.create_task(follow(connection)) for connection in connections]
        await asyncio.sleep(2 * TURN_SECONDS)  # as a commit takes
        saved.set()
        await asyncio.wait(tasks, timeout=2 * TURN_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert turns.seconds == []


async def test_a_flood_is_work_also_where_each_piece_of_it_is_waited_for() -> None:
    """Letting others run after each piece is not enough: pieces of many streams would still fill the loop."""
    turns, flood = Noting(), b": keep\n" * (MIB // 7)
    async with connected(turns, UNTIL_CLOSED_HEAD + flood + ONE + b"\n\n") as connection:
        while True:
            if await connection.receive():
                break
            await asyncio.sleep(0)
    assert len(turns.seconds) >= MIB // TURN_BYTES // 2
    assert all(0 < seconds <= TURN_BYTES * SLOWEST + TURN_SECONDS for seconds in turns.seconds)


def test_streams_that_need_many_turns_share_a_fifth_of_the_loop() -> None:
    """Whether it is one stream or a hundred; a source that was quiet owes nothing."""
    for streams in (1, 100):
        turns, now, worked = Turns(), 1000.0, 0.0
        rests = [0.0] * streams
        while now < 1010.0:
            index = min(range(streams), key=rests.__getitem__)
            now = max(now, rests[index]) + TURN_SECONDS
            worked += TURN_SECONDS
            rests[index] = now + turns.rest(TURN_SECONDS, now)
        assert worked <= 10.0 * SHARE * 1.1 + TURN_SECONDS * streams
    assert turns.rest(TURN_SECONDS, now + 100.0) == pytest.approx(TURN_SECONDS / SHARE)
