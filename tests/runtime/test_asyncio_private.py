"""The private part of asyncio that is used does what it is used for; a new version that changes it fails here."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
from collections.abc import Iterator

import pytest
import trustme
from certificates import serving_tls, trusting_tls

from notifier.runtime import asyncio_private


@pytest.fixture(autouse=True)
def _tls_buffers() -> Iterator[None]:
    size = asyncio.sslproto.SSLProtocol.max_size
    yield
    asyncio.sslproto.SSLProtocol.max_size = size


async def buffer_size(authority: trustme.CA) -> int:
    """Open a TLS connection; return the bytes of its read buffer."""
    server_side, client_side = serving_tls(authority, "localhost"), trusting_tls(authority)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(handler, "localhost", 0, ssl=server_side) as server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("localhost", port, ssl=client_side)
        size = len(writer.transport._ssl_protocol.get_buffer(-1))  # type: ignore[attr-defined]  # private, as the test is about
        writer.close()
        await writer.wait_closed()
    return size


async def test_a_connection_gets_a_buffer_of_the_size_that_is_set() -> None:
    """Stock asyncio allocates more than is set here, and every new connection follows."""
    authority = trustme.CA()
    stock = await buffer_size(authority)
    asyncio_private.set_tls_buffer(16 * 1024)
    assert await buffer_size(authority) == 16 * 1024 < stock
