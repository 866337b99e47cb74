"""Each private part of aiohttp that is used does what it is used for; a new version that changes one fails here."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
import trustme
from aiohttp import web
from waits import until

from notifier.runtime import aiohttp_private

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Run a TCP server; yield its URL."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/"


async def _read_head(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def test_read_buffered_returns_what_came_before_the_connection_broke() -> None:
    """The library's own methods raise the connection's error and drop the bytes before it."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _read_head(reader)
        writer.write(HEAD + b"the last state")
        await writer.drain()
        writer.close()

    async with serving(handler) as url, aiohttp.ClientSession() as session:
        response = await session.get(url)
        closed = aiohttp_private.connection_closed(response)
        assert closed is not None
        await asyncio.wait({closed}, timeout=30)
        assert closed.done()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.readany()
        assert aiohttp_private.read_buffered(response.content) == b"the last state"
        assert aiohttp_private.read_buffered(response.content) == b""
        response.close()


async def test_abort_sends_no_goodbye() -> None:
    """Over TLS, a peer that reads sees the connection reset or cut, and no close_notify is waited for."""
    ended = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _read_head(reader)
        writer.write(HEAD)
        await writer.drain()
        with suppress(OSError, ssl.SSLError):
            await reader.read()
        ended.set()
        writer.transport.abort()

    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with serving(handler, server) as url, aiohttp.ClientSession() as session:
        response = await session.get(url, ssl=client)
        connection = response.connection
        assert connection is not None
        assert connection.transport is not None
        transport = connection.transport
        aiohttp_private.abort(response)
        assert transport.is_closing()
        assert response.connection is None
        async with asyncio.timeout(30):
            await ended.wait()


async def test_a_finished_response_has_no_connection_to_watch() -> None:
    """A response that was read to its end has given its connection back."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with serving(handler) as url, aiohttp.ClientSession() as session:
        response = await session.get(url)
        await response.read()
        assert aiohttp_private.connection_closed(response) is None
        aiohttp_private.abort(response)


@pytest.mark.parametrize(("disabled", "connections"), [(True, 1), (False, 2)])
async def test_disable_retries_sends_a_request_once(disabled: bool, connections: int) -> None:
    """aiohttp repeats an idempotent request whose kept connection turns out to be closed."""
    accepted = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        await _read_head(reader)
        if accepted == 1:  # answered and kept; the second request over it is cut off
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            await _read_head(reader)
        writer.close()

    async with serving(handler) as url, aiohttp.ClientSession() as session:
        if disabled:
            aiohttp_private.disable_retries(session)
        async with session.get(url) as response:
            await response.read()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.get(url)
    assert accepted == connections


async def test_a_connection_is_idle_until_a_head_is_complete_and_after_the_answer() -> None:
    """Not while a request is answered."""
    begun, answer = asyncio.Event(), asyncio.Event()

    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        await answer.wait()
        return web.Response()

    server = web.Server(handle)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())

    await until(lambda: bool(server.connections))
    [handler] = server.connections
    assert aiohttp_private.is_idle(handler)
    await until(lambda: aiohttp_private.is_idle(handler))
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n")
    await asyncio.sleep(0.05)
    assert aiohttp_private.is_idle(handler)
    writer.write(b"\r\n")
    async with asyncio.timeout(60):
        await begun.wait()
        assert not aiohttp_private.is_idle(handler)
        answer.set()
        await reader.readuntil(b"\r\n\r\n")
    await until(lambda: aiohttp_private.is_idle(handler))
    writer.close()
    listening.close()
    await server.shutdown()


async def test_a_normalising_connector_reads_odd_heads_and_keeps_the_status_of_a_broken_body() -> None:
    """Its connections parse the head alone first, so that an error in the body comes later; a long head is refused."""

    async def reply(data: bytes, *, max_head: int = 1000) -> tuple[int, bytes]:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _read_head(reader)
            writer.write(data)
            await writer.drain()
            writer.close()

        connector = aiohttp_private.NormalisingConnector(max_head=max_head)
        async with (
            serving(handler) as url,
            aiohttp.ClientSession(connector=connector) as session,
            session.get(url) as response,
        ):
            with suppress(aiohttp.ClientPayloadError):
                return response.status, await response.read()
            return response.status, aiohttp_private.read_buffered(response.content)

    body = b"Content-Length: 2\r\n\r\nok"
    assert await reply(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + body) == (200, b"ok")
    assert await reply(b"HTTP/1.1 200 OK\r\n" + body + b"HTTP/nonsense") == (200, b"ok")
    assert await reply(b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\n" + body) == (200, b"ok")
    assert await reply(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n") == (503, b"ok")
    for head in (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 1000 + b"\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: some text\r\n" * 90):
        with pytest.raises(aiohttp.ClientResponseError, match="larger than 1000 bytes"):
            await reply(head + body)
        assert await reply(head + body, max_head=2000) == (200, b"ok")
    with pytest.raises(aiohttp.ClientResponseError):
        await reply(b"SSH-2.0-OpenSSH\r\n")
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await reply(b"HTTP/1.1 200 OK\r\nCont")


async def test_a_normalising_connector_keeps_connections() -> None:
    """Each reply on a kept connection may have an odd head."""
    accepted = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        with suppress(asyncio.IncompleteReadError):
            while True:
                await _read_head(reader)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        writer.close()

    connector = aiohttp_private.NormalisingConnector(max_head=1000, keepalive=60.0)
    async with serving(handler) as url, aiohttp.ClientSession(connector=connector) as session:
        for _ in range(3):
            async with session.get(url) as response:
                assert await response.read() == b"ok"
    assert accepted == 1
