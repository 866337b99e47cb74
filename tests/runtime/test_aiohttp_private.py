"""Each private part of aiohttp that is used does what it is used for; a new version that changes one fails here."""

from __future__ import annotations

import asyncio

from aiohttp import web
from waits import until

from notifier.runtime import aiohttp_private


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
