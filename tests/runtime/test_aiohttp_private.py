"""Each private part of aiohttp that is used does what it is used for; a new version that changes one fails here."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from pathlib import Path

import pytest
import trustme
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
import asyncio
from notifier.runtime import aiohttp_private
import aiohttp
from aiohttp.connector import _SSL_CONTEXT_UNVERIFIED as lax, _SSL_CONTEXT_VERIFIED as strict

async def ask(**tls):
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get({url!r}, **tls) as response:
                return response.status
        except aiohttp.ClientConnectorCertificateError:
            return "refused"

loaded = [context.cert_store_stats()["x509"] for context in (strict, lax)]
for loop in {loops}:
    with asyncio.Runner(loop_factory=loop) as runner:
        print(*loaded, *(runner.run(ask(**tls)) for tls in (dict(), dict(), dict(ssl=False))))
print(strict.cert_store_stats()["x509"])
"""


@pytest.mark.unmeasured
@pytest.mark.parametrize(("trusted", "status"), [(True, "200"), (False, "refused")])
async def test_aiohttp_reads_the_authorities_when_it_needs_them(tmp_path: Path, trusted: bool, status: str) -> None:
    """Not while it is loaded. A server that they signed is trusted, another is not, on either event loop."""
    authority, other = trustme.CA(), trustme.CA()
    certificate = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(certificate)
    (authority if trusted else other).cert_pem.write_to_path(str(tmp_path / "authorities.pem"))

    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    server = web.Server(answer)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=certificate)
    url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    program = "import uvloop\n" + LATE.format(url=url, loops="(asyncio.new_event_loop, uvloop.new_event_loop)")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        env={**os.environ, "SSL_CERT_FILE": str(tmp_path / "authorities.pem"), "SSL_CERT_DIR": str(tmp_path / "none")},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.decode().splitlines() == [f"0 0 {status} {status} 200"] * 2 + ["1"]
    listening.close()
    await server.shutdown()
