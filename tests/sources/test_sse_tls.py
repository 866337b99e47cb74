"""Streams over TLS."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import trustme
from certificates import serving_tls, trusting_tls
from raw_upstream import (
    CHUNKED_HEAD,
    ONE,
    TWO,
    UNTIL_CLOSED_HEAD,
    Peer,
    answer,
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
from waits import PATIENCE, until

from notifier.core.errors import Unavailable


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_tls(authority: trustme.CA) -> None:
    """A stream over TLS is read, and let go of without waiting for the peer's goodbye."""
    before = descriptors()
    async with (
        serve(stay(CHUNKED_HEAD, chunk(ONE + b"\n")), tls=serving_tls(authority, "127.0.0.1")) as upstream,
        following(upstream.url, tls=trusting_tls(authority)) as here,
    ):
        stream = await here.source.open("1")
        assert (await read_next(stream)).state == "processing"
        stream.close()
    await settled(before)


async def test_a_break_of_tls(authority: trustme.CA) -> None:
    """What arrived over TLS before the connection was cut is returned."""
    parts = (CHUNKED_HEAD, chunk(ONE + b"\n") + chunk(TWO + b"\n"))
    async with (
        serve(reply(*parts, then=Peer.close), tls=serving_tls(authority, "127.0.0.1")) as upstream,
        following(upstream.url, tls=trusting_tls(authority)) as here,
    ):
        states, ending = await read_all(await here.source.open("1"))
    assert states == ["processing", "success"]
    assert isinstance(ending, Unavailable)


async def test_a_peer_that_does_not_answer_the_goodbye(authority: trustme.CA) -> None:
    """Letting go of a TLS stream frees its descriptor at once, even where the peer hangs (asyncio would wait 30 s)."""

    async def hang(peer: Peer) -> None:
        await peer.send(CHUNKED_HEAD, chunk(ONE + b"\n"))
        peer.hang()
        await asyncio.Event().wait()

    async with (
        serve(hang, tls=serving_tls(authority, "127.0.0.1")) as upstream,
        following(upstream.url, tls=trusting_tls(authority)) as here,
    ):
        stream = await here.source.open("1")
        assert (await read_next(stream)).state == "processing"
        opened = descriptors()
        stream.close()
        await until(lambda: descriptors() != opened, timeout=PATIENCE)


@pytest.mark.parametrize("case", ["another authority", "another name"])
async def test_tls_that_fails(authority: trustme.CA, case: str) -> None:
    """A peer that cannot prove its name is unavailable, and learns nothing."""
    tls = serving_tls(authority, "another.example" if case == "another name" else "127.0.0.1")
    trusted = trusting_tls(trustme.CA() if case == "another authority" else authority)
    async with serve(stay(UNTIL_CLOSED_HEAD), tls=tls) as upstream, following(upstream.url, tls=trusted) as here:
        with pytest.raises(Unavailable, match="certificate is not accepted"):
            await here.source.open("1")
    assert upstream.peers == []


async def test_no_tls_where_it_is_expected(authority: trustme.CA) -> None:
    """A peer that answers in plain text is unavailable."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer("400 Bad Request"))
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, following(url, tls=trusting_tls(authority)) as here:
        with pytest.raises(Unavailable, match="TLS"):
            await here.source.open("1")


async def test_authorities_are_exchanged(authority: trustme.CA) -> None:
    """Who is believed from the next connection on is told to a source that stays; a stream that is open stays open."""
    other = trustme.CA()
    async with (
        serve(stay(CHUNKED_HEAD, chunk(ONE + b"\n")), tls=serving_tls(authority, "127.0.0.1")) as upstream,
        following(upstream.url, tls=trusting_tls(authority)) as here,
    ):
        settings = here.source.settings
        stream = await here.source.open("1")
        here.source.update(replace(settings, ssl=trusting_tls(other)))
        with pytest.raises(Unavailable, match="certificate is not accepted"):
            await here.source.open("2")
        assert (await read_next(stream)).state == "processing"
        here.source.update(replace(here.source.settings, token="t0p"))
        with pytest.raises(Unavailable, match="certificate is not accepted"):
            await here.source.open("2")
        here.source.update(settings)
        await here.source.open("2")
        stream.close()
