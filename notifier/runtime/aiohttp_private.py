"""The private parts of aiohttp that the program uses, all in this one module.

aiohttp has no public way to do what is done here. `tests/runtime/test_aiohttp_private.py` fails when a new version
changes one of these parts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.web import RequestHandler


def read_buffered(content: aiohttp.StreamReader) -> bytes:
    """Return the bytes that a reader holds, even if it has an exception: its own methods would raise that first."""
    return content._read_nowait(-1)


def abort(response: aiohttp.ClientResponse) -> None:
    """Close a response's connection at once, without TLS's goodbye."""
    if response.connection is not None and response.connection.protocol is not None:
        response.connection.protocol.abort()
    response.close()


def connection_closed(response: aiohttp.ClientResponse) -> asyncio.Future[None] | None:
    """Return a future that is done when the response's connection is closed; None if there is no connection."""
    connection = response.connection
    return connection.protocol.closed if connection is not None and connection.protocol is not None else None


def disable_retries(session: aiohttp.ClientSession) -> None:
    """Let a request fail at once where aiohttp would repeat it over a new connection."""
    session._retry_connection = False


def is_idle(handler: RequestHandler) -> bool:
    """Return whether an HTTP server's connection waits for the rest of a request's head."""
    waiter = handler._waiter
    return waiter is not None and not waiter.done()


class IdleLimitedConnector(aiohttp.TCPConnector):
    """A connector that keeps idle connections to at most `max_idle_hosts` hosts.

    aiohttp limits only the connections in use. Each idle connection holds a descriptor.
    """

    def __init__(self, *, max_idle_hosts: int, **options: Any) -> None:
        super().__init__(**options)
        self._max_idle_hosts = max_idle_hosts

    def idle_hosts(self) -> int:
        """Return the number of hosts to which idle connections are kept."""
        return len(self._conns)

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        too_many = len(self._conns) >= self._max_idle_hosts and key not in self._conns
        super()._release(key, protocol, should_close=should_close or too_many)
