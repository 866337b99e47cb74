"""Bounds: over them a stream loses its connection, after all that came before."""

from __future__ import annotations

import gzip

import pytest
from raw_upstream import (
    CHUNKED_HEAD,
    ONE,
    STREAM_HEAD,
    TWO,
    UNTIL_CLOSED_HEAD,
    Peer,
    chunk,
    following,
    read_all,
    reply,
    serve,
)

from notifier.core.errors import Unreadable
from notifier.core.eventstream import MAX_LINE


@pytest.mark.parametrize("framing", ["event", "line"])
async def test_a_line_over_the_limit_ends_the_stream(framing: str) -> None:
    """An endless line costs the stream its connection, after what came before; not the process its memory."""

    async def behave(peer: Peer) -> None:
        await peer.send(UNTIL_CLOSED_HEAD, ONE + b"\n\n")
        flood = b"data: " + b"x" * (64 << 10)
        while True:
            await peer.send(flood)

    async with serve(behave) as upstream, following(upstream.url, framing=framing) as here:
        states, ending = await read_all(await here.source.open("1"))
        assert states == ["processing"]
        assert isinstance(ending, Unreadable)
        assert str(MAX_LINE) in str(ending)


async def test_a_line_just_within_the_limit() -> None:
    """A line of as many bytes as are allowed is read like any other."""
    state = b'{"state":"success","pad":"'
    line = b"data:" + state + b"x" * (MAX_LINE - 5 - len(state) - 2) + b'"}'
    assert len(line) == MAX_LINE
    async with serve(reply(UNTIL_CLOSED_HEAD, ONE + b"\n" + line)) as upstream, following(upstream.url) as here:
        assert await read_all(await here.source.open("1")) == (["processing", "success"], None)


async def test_a_line_over_the_limit_in_the_last_bytes_before_a_break() -> None:
    """The limit is the error that is told when both it and the connection broke."""
    line = b"x" * (MAX_LINE + 1)
    parts = [CHUNKED_HEAD, chunk(ONE + b"\n"), b"200000\r\n" + line]
    async with serve(reply(*parts)) as upstream, following(upstream.url) as here:
        states, ending = await read_all(await here.source.open("1"))
    assert states == ["processing"]
    assert isinstance(ending, Unreadable)


async def test_a_compressed_stream_is_read_and_bounded() -> None:
    """Compression is not asked for; a server that compresses all the same is understood, and cannot blow up memory."""
    head = STREAM_HEAD + b"Content-Encoding: gzip\r\n\r\n"
    async with (
        serve(reply(head, gzip.compress(ONE + b"\n" + TWO + b"\n"))) as upstream,
        following(upstream.url) as here,
    ):
        assert await read_all(await here.source.open("1")) == (["processing", "success"], None)
        assert upstream.peers[0].headers["accept-encoding"] == "identity"
    bomb = gzip.compress(ONE + b"\n" + b"x" * (64 << 20))
    async with serve(reply(head, bomb)) as upstream, following(upstream.url) as here:
        states, ending = await read_all(await here.source.open("1"))
    assert states == ["processing"]
    assert isinstance(ending, Unreadable)
