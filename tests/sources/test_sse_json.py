"""JSON where a stream was expected: a stream of one snapshot."""

from __future__ import annotations

import asyncio

import pytest
from raw_upstream import (
    TOKEN,
    Peer,
    answer,
    descriptors,
    following,
    opening_fails,
    read_all,
    reply,
    serve,
    settled,
    snapshot,
    stay,
)
from waits import PATIENCE

from notifier.core.errors import Unavailable, Unreadable
from notifier.core.eventstream import MAX_EVENT


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "application/x+json"])
async def test_json_is_a_stream_of_one(content_type: str) -> None:
    """A JSON reply is a stream that yields its one snapshot and ends; its connection is closed already."""
    body = b' {"state": "success",\n "estimated_time_left": 0}\n'
    before = descriptors()
    whole = answer("200 OK", f"Content-Type: {content_type}", body=body)
    async with serve(stay(whole)) as upstream, following(upstream.url) as here:
        stream = await here.source.open("1")
        async with asyncio.timeout(PATIENCE):
            await upstream.peers[0].gone()
        assert await read_all(stream) == (["success"], None)
        assert (stream.observations, here.reports) == (1, 1)
        assert await read_all(stream) == ([], None)
    await settled(before)


async def test_json_that_is_no_snapshot() -> None:
    """A JSON reply without a state raises, as nothing else will come; it is counted too."""
    body = b'{"error":"' + TOKEN.encode() + b'"}'
    async with (
        serve(reply(answer("200 OK", "Content-Type: application/json", body=body))) as upstream,
        following(upstream.url) as here,
    ):
        states, error = await read_all(await here.source.open("1"))
        assert here.unreadable == 1
    assert states == []
    assert isinstance(error, Unreadable)
    assert error.excerpt == '{"error":"<secret>"}'
    assert TOKEN not in str(error)


async def test_json_closed_before_it_was_read() -> None:
    """A stream of one that was closed yields nothing."""
    body = snapshot("success")
    async with (
        serve(reply(answer("200 OK", "Content-Type: application/json", body=body))) as upstream,
        following(upstream.url) as here,
    ):
        stream = await here.source.open("1")
        stream.close()
        assert await read_all(stream) == ([], None)


async def test_json_is_bounded() -> None:
    """A JSON reply larger than the limit is refused."""
    error = await opening_fails(answer("200 OK", "Content-Type: application/json", body=b" " * (MAX_EVENT + 1)))
    assert type(error) is Unreadable
    assert str(MAX_EVENT) in str(error)


async def test_json_cut_short() -> None:
    """A JSON reply that breaks off is no snapshot."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    assert type(await opening_fails(head + b'{"state":')) is Unavailable


async def test_json_that_drips() -> None:
    """The time to connect covers a JSON body whole."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"

    async def drip(peer: Peer) -> None:
        await peer.send(head)
        while True:
            await peer.send(b" ")
            await asyncio.sleep(0.01)

    async with serve(drip) as upstream, following(upstream.url, connect_timeout=0.2) as here:
        with pytest.raises(Unavailable, match=r"within 0\.2 s"):
            await here.source.open("1")
