"""How a stream ends: all that was received is returned first, limits hold, and nothing stays open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from raw_upstream import (
    CHUNKED_HEAD,
    ONE,
    STREAM_HEAD,
    TWO,
    UNTIL_CLOSED_HEAD,
    Behaviour,
    Peer,
    answer,
    arrives,
    chunk,
    descriptors,
    following,
    read_all,
    read_next,
    reply,
    serve,
    settled,
    stay,
)
from structlog.testing import capture_logs
from waits import PATIENCE

from notifier.core.errors import SourceError, Unavailable
from notifier.sources.sse import SseSource


def stays_open(_: Peer) -> None:
    """Leave the connection as it is."""


# -- ends and breaks: the parts sent, how the connection ends, and the error if that is one

BOTH = ONE + b"\n\n" + TWO + b"\n\n"
CHUNKS = chunk(ONE + b"\n\n") + chunk(TWO + b"\n\n")
BREAKS: dict[str, tuple[list[bytes], Callable[[Peer], None], type[SourceError] | None]] = {
    "orderly, chunked": ([CHUNKED_HEAD, CHUNKS, b"0\r\n\r\n"], Peer.close, None),
    "orderly, until closed": ([UNTIL_CLOSED_HEAD, BOTH], Peer.close, None),
    "orderly, of known length": ([answer("200 OK", "Content-Type: text/event-stream", body=BOTH)], Peer.close, None),
    "missing last chunk": ([CHUNKED_HEAD, chunk(BOTH)], Peer.close, Unavailable),
    "missing last chunk, in one segment": ([CHUNKED_HEAD + chunk(BOTH)], Peer.close, Unavailable),
    "reset": ([CHUNKED_HEAD, CHUNKS], Peer.reset, Unavailable),
    "reset, in one segment": ([CHUNKED_HEAD + CHUNKS], Peer.reset, Unavailable),
    "garbage in place of a chunk": ([CHUNKED_HEAD, CHUNKS, b"zzzz\r\n"], stays_open, Unavailable),
    "garbage behind a chunk": ([CHUNKED_HEAD, CHUNKS + b"zzzz\r\n"], stays_open, Unavailable),
    "chunk without its end": (
        [CHUNKED_HEAD, chunk(ONE + b"\n\n") + b"40\r\n" + TWO + b"\n\n"],
        Peer.close,
        Unavailable,
    ),
    "chunk longer than announced": ([CHUNKED_HEAD, CHUNKS[:-2] + b"XX"], stays_open, Unavailable),
    "less than announced": ([STREAM_HEAD + b"Content-Length: 999\r\n\r\n", BOTH], Peer.close, Unavailable),
}


@pytest.mark.parametrize("framing", ["event", "line"])
@pytest.mark.parametrize("case", BREAKS)
async def test_all_that_arrived_is_returned_before_the_end_is_told(case: str, framing: str) -> None:
    """A final snapshot followed at once by any kind of break is still read, then the break is raised."""
    parts, end, error = BREAKS[case]
    opened = asyncio.Event()
    before = descriptors()
    async with serve(_head_first(parts, opened, end)) as upstream, following(upstream.url, framing=framing) as here:
        stream = await here.source.open("1")
        opened.set()
        await asyncio.sleep(0.02)  # so that, where it can, the break arrives before anything was read
        states, ending = await read_all(stream)
        assert states == ["processing", "success"]
        assert ending is None if error is None else type(ending) is error
    await settled(before)


def _head_first(parts: list[bytes], opened: asyncio.Event, end: Callable[[Peer], None]) -> Behaviour:
    """Send the first part, and the others once the stream is open."""

    async def behave(peer: Peer) -> None:
        await peer.send(parts[0])
        if len(parts) > 1:
            await opened.wait()
        await peer.send(*parts[1:])
        end(peer)

    return behave


@pytest.mark.parametrize(
    "case", ["orderly, until closed", "reset", "missing last chunk", "garbage in place of a chunk"]
)
async def test_a_break_while_waiting(case: str) -> None:
    """A reader that waits is woken by the break, too."""
    parts, end, error = BREAKS[case]
    opened = asyncio.Event()
    async with serve(_head_first(parts, opened, end)) as upstream, following(upstream.url) as here:
        reading = asyncio.create_task(read_all(await here.source.open("1")))
        await asyncio.sleep(0)
        opened.set()
        states, ending = await reading
    assert states == ["processing", "success"]
    assert ending is None if error is None else type(ending) is error


async def test_reset_without_a_framing_of_http() -> None:
    """Where the body ends with the connection, what arrived is returned, whatever ends the connection."""
    async with (
        serve(reply(UNTIL_CLOSED_HEAD, ONE + b"\n\n" + TWO + b"\n\n", then=Peer.reset)) as upstream,
        following(upstream.url) as here,
    ):
        states, ending = await read_all(await here.source.open("1"))
    assert states == ["processing", "success"]
    assert ending is None or isinstance(ending, Unavailable)


@pytest.mark.parametrize("then", [Peer.close, Peer.reset])
async def test_half_a_line_at_a_break_is_no_fault_of_the_upstream(then: Callable[[Peer], None]) -> None:
    """A line cut off by the end of the connection is dropped without a word."""
    with capture_logs() as logs:
        async with (
            serve(reply(CHUNKED_HEAD, chunk(ONE + b"\n" + TWO[:-5]), then=then)) as upstream,
            following(upstream.url) as here,
        ):
            states, ending = await read_all(await here.source.open("1"))
            assert here.unreadable == 0
    assert states == ["processing"]
    assert isinstance(ending, Unavailable)
    assert logs == []


async def test_an_unfinished_event_is_not_dispatched() -> None:
    """With event framing, an event without its blank line is dropped at the end."""
    async with (
        serve(reply(UNTIL_CLOSED_HEAD, ONE + b"\n\n" + TWO + b"\n")) as upstream,
        following(upstream.url, framing="event") as here,
    ):
        assert await read_all(await here.source.open("1")) == (["processing"], None)


async def test_an_end_is_told_as_often_as_asked() -> None:
    """Reading on after the end, or after an error, tells the same again."""
    async with serve(reply(CHUNKED_HEAD, chunk(ONE + b"\n"))) as upstream, following(upstream.url) as here:
        stream = await here.source.open("1")
        await read_next(stream)
        for _ in range(3):
            with pytest.raises(Unavailable):
                await read_next(stream)
        stream.close()
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await read_next(stream)


# -- letting go


async def test_close_lets_go_at_once_and_may_be_repeated() -> None:
    """After `close` the upstream sees the connection gone, and no descriptor is left."""
    gone = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.send(UNTIL_CLOSED_HEAD, ONE + b"\n")
        await peer.gone()
        gone.set()

    before = descriptors()
    async with serve(behave) as upstream, following(upstream.url) as here:
        stream = await here.source.open("1")
        await read_next(stream)
        stream.close()
        stream.close()
        async with asyncio.timeout(PATIENCE):
            await gone.wait()
    await settled(before)


async def test_close_ends_a_read_in_progress() -> None:
    """A reader that waits in another task sees the end, not an error."""
    async with serve(stay(UNTIL_CLOSED_HEAD)) as upstream, following(upstream.url) as here:
        stream = await here.source.open("1")
        reading = asyncio.create_task(read_all(stream))
        await asyncio.sleep(0.01)
        stream.close()
        assert await reading == ([], None)


async def test_close_forgets_what_was_not_read() -> None:
    """Nothing is returned after `close`."""
    async with (
        serve(stay(UNTIL_CLOSED_HEAD + ONE + b"\n" + TWO + b"\ndata: {")) as upstream,
        following(upstream.url) as here,
    ):
        stream = await here.source.open("1")
        await read_next(stream)
        stream.close()
        assert await read_all(stream) == ([], None)


async def test_a_cancelled_read_loses_nothing() -> None:
    """Reading on after a cancelled read goes on where it was."""
    proceed = asyncio.Event()

    async def behave(peer: Peer) -> None:
        await peer.send(UNTIL_CLOSED_HEAD, ONE + b"\n" + TWO[:9])
        await proceed.wait()
        await peer.send(TWO[9:] + b"\n")
        peer.close()

    async with serve(behave) as upstream, following(upstream.url) as here:
        stream = await here.source.open("1")
        assert (await read_next(stream)).state == "processing"
        for _ in range(3):
            assert not await arrives(stream)
        proceed.set()
        assert await read_all(stream) == (["success"], None)


async def test_closing_the_source_ends_its_streams() -> None:
    """`close` of the source leaves no stream waiting."""
    async with serve(stay(UNTIL_CLOSED_HEAD)) as upstream, following(upstream.url) as here:
        reading = asyncio.create_task(read_all(await here.source.open("1")))
        await asyncio.sleep(0.01)
        await here.source.close()
        states, ending = await reading
        assert states == []
        assert ending is None or isinstance(ending, SourceError)


async def test_closing_the_source_may_be_cancelled() -> None:
    """Where closing is cut short, its streams end all the same."""
    async with serve(stay(UNTIL_CLOSED_HEAD)) as upstream, following(upstream.url) as here:
        reading = asyncio.create_task(read_all(await here.source.open("1")))
        await asyncio.sleep(0.01)
        closing = asyncio.create_task(here.source.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait({closing})
        states, ending = await reading
        assert states == []
        assert ending is None or isinstance(ending, SourceError)


async def test_a_thousand_cancelled_watches_leave_nothing() -> None:
    """Neither tasks nor descriptors are left of 1,000 streams cancelled while they connect or read."""

    async def follow(source: SseSource, task_id: str) -> None:
        stream = await source.open(task_id)
        try:
            async for _ in stream:
                pass
        finally:
            stream.close()

    before = descriptors()
    async with serve(stay(UNTIL_CLOSED_HEAD, ONE + b"\n")) as upstream, following(upstream.url) as here:
        for batch in range(4):
            tasks = [asyncio.create_task(follow(here.source, f"{batch}-{n}")) for n in range(250)]
            await asyncio.sleep(0.05)  # some connect, some read
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)
    await settled(before)
