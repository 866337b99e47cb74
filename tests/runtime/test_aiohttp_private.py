"""Each private part of aiohttp that is used does what it is used for; a new version that changes one fails here."""

from __future__ import annotations

import asyncio
import sys

import pytest
from aiohttp import web
from waits import PATIENCE, until

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


LATE = """
import ssl, sys
loaded = []
ssl.SSLContext.set_default_verify_paths = lambda context: loaded.append(context)
from notifier.runtime import aiohttp_private
from aiohttp import web
import aiohttp
print("aiohttp.client" in sys.modules, len(loaded), aiohttp.web is web)
print(hasattr(aiohttp, "nothing"), aiohttp.ClientSession.__module__, aiohttp.hdrs.HOST)
from aiohttp import ClientTimeout
"""


@pytest.mark.unmeasured
async def test_aiohttp_is_loaded_without_its_client() -> None:
    """Nor does it read the authorities; the client is loaded by whoever asks for it."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", LATE, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.decode().splitlines() == ["False 0 True", "False aiohttp.client Host"]
