"""The private parts of aiohttp that the program uses, all in this one module.

aiohttp has no public way to do what is done here. `tests/runtime/test_aiohttp_private.py` fails when a new version
changes one of these parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from notifier.core import http_head

if TYPE_CHECKING:
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
    if handler._request_count == 0:  # its task, which waits, may not have begun
        return True
    waiter = handler._waiter
    return waiter is not None and not waiter.done()


class BrokenFraming(aiohttp.ClientPayloadError):
    """A reply's body does not keep to HTTP's framing, for example by a wrong chunk size."""


def _end_broken_body(handler: ResponseHandler) -> bool:
    """Pass a fault on to the body's reader, which aiohttp would let wait for ever; return whether there is one."""
    fault, payload = handler.exception(), handler._payload
    if fault is None or payload is None:
        return False
    if not payload.is_eof():
        payload.set_exception(BrokenFraming(str(fault)))
    return True


class NormalisingHandler(ResponseHandler):
    """A connection whose replies may have odd heads.

    aiohttp's parser sees the head alone, in a form that it takes, and the body after it: an error in the body then does
    not hide the status that came with it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, max_head: int) -> None:
        super().__init__(loop)
        self._head: bytearray | None = None  # of the reply under way; None once aiohttp has it
        self._max_head = max_head

    def set_response_params(self, **params: Any) -> None:
        self._head = bytearray()  # a request is about to be sent
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        if self._head is None or not data:
            self._parse(data)
            return
        known = max(0, len(self._head) - 3)  # of the blank line, the beginning may be there
        self._head += data
        while self._head:
            end = http_head.find_end(self._head, known)
            if max(end, len(self._head) if end < 0 else 0) > self._max_head:
                self._refuse()
                return
            if end < 0:
                self._wait_for_head()
                return
            head, rest = bytes(self._head[:end]), self._head[end:]
            interim, known = http_head.is_interim(head), 0
            self._head = rest if interim else None
            self._parse(http_head.normalised(head))
            if not interim and rest:
                self._parse(bytes(rest))

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._head:
            head, self._head = bytes(self._head), None
            self._parse(head)
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        assert self._head is not None
        if not http_head.may_begin(self._head):
            head, self._head = bytes(self._head), None
            self._parse(head)

    def _refuse(self) -> None:
        self._head = None
        self.set_exception(HttpProcessingError(message=f"the head is larger than {self._max_head} bytes"))
        if self.transport is not None:
            self.transport.close()

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        _end_broken_body(self)


class NormalisingConnector(aiohttp.TCPConnector):
    """A connector that takes odd heads, of up to `max_head` bytes.

    Idle connections are kept for `keepalive` seconds; None closes each after its reply.
    """

    def __init__(self, *, max_head: int, keepalive: float | None = None) -> None:
        kept: dict[str, Any] = {"force_close": True} if keepalive is None else {"keepalive_timeout": keepalive}
        super().__init__(limit=0, **kept)
        factory: Callable[..., ResponseHandler] = partial(NormalisingHandler, max_head=max_head)
        self._factory = partial(factory, loop=self._loop)
