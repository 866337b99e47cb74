"""The simulator's HTTP/1.1: the caller chooses every byte that is written, so that faults are exact.

A connection costs one small object and no task, which lets one process hold thousands of open streams. Requests are
read strictly (RFC 9112) and bounded. Features that are not needed here (chunked requests, HTTP/1.0, deep pipelining)
are refused with a fitting status.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

from notifier.tools.waiting import Waiters

MAX_HEAD = 32 << 10  # bytes of request line and headers
MAX_BODY = 1 << 20  # bytes; only control requests have a body

_RST = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close() sends RST


def reset(transport: asyncio.Transport) -> None:
    """Close at once with RST; unsent bytes are lost."""
    sock: Any = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
    transport.abort()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One complete request."""

    method: str
    target: str  # path and query as sent
    path: str  # percent-decoded, without the query
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A request that can be answered only with this status."""

    status: int


def parse_head(head: bytes) -> tuple[HttpRequest, int] | Malformed:
    """Read request line and headers; return the request without its body, and the length of that body."""
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[1].startswith("/"):
        return Malformed(status=400)
    if parts[2] != "HTTP/1.1":
        return Malformed(status=505)
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            return Malformed(status=400)
        headers[name.lower()] = value.strip(" \t")
    if "transfer-encoding" in headers:
        return Malformed(status=501)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()):
        return Malformed(status=400)
    if int(length) > MAX_BODY:
        return Malformed(status=413)
    path, _, query = parts[1].partition("?")
    request = HttpRequest(
        method=parts[0],
        target=parts[1],
        path=unquote(path),
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers=headers,
        body=b"",
    )
    return request, int(length)


class HttpConnection(asyncio.Protocol):
    """One client; passes each request to `respond`, which answers now or later through the methods below."""

    __slots__ = ("_buffer", "_busy", "_closing", "_open", "_respond", "_waiters", "on_lost", "transport")

    def __init__(
        self, respond: Callable[[HttpRequest, HttpConnection], None], *, among: set[HttpConnection], waiters: Waiters
    ) -> None:
        """Be `among` the open connections from begin to end; `waiters` may wait for the end."""
        self._respond = respond
        self._open = among
        self._waiters = waiters
        self._buffer = b""
        self._busy = False  # a request is being answered
        self._closing = False  # after this answer, as the client asked
        self.on_lost: Callable[[], None] | None = None  # called once if the client leaves in the middle of an answer
        self.transport = cast("asyncio.Transport", None)  # set by `connection_made`, before anything else

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the reason does not matter here
        """End."""
        if self.on_lost is not None:
            self.on_lost()
            self.on_lost = None
        self._open.discard(self)
        self._waiters.changed()

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        self._buffer += data
        if len(self._buffer) > MAX_HEAD + MAX_BODY:
            self.transport.abort()
        else:
            self._next()

    def _next(self) -> None:
        while not self._busy and self._buffer and not self.transport.is_closing():
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if len(head) > MAX_HEAD:
                self._refuse(431)
                return
            if not end:
                return
            match parse_head(head):
                case Malformed(status=status):
                    self._refuse(status)
                    return
                case (request, length):
                    if len(rest) < length:
                        return
                    body, self._buffer = rest[:length], rest[length:]
            self._busy = True
            self._closing = "close" in request.headers.get("connection", "").lower()
            self._respond(replace(request, body=body), self)

    def _refuse(self, status: int) -> None:
        self._buffer, self._closing = b"", True
        self.reply(status)

    def _done(self) -> None:
        self.on_lost = None
        self._busy = False
        if self._closing:
            self.transport.close()
        elif self._buffer:
            asyncio.get_running_loop().call_soon(self._next)  # not here: the caller has not finished its own accounting

    def _head(self, status: int, headers: Iterable[tuple[str, str]]) -> bytes:
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
        if self._closing:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def reply(
        self,
        status: int,
        body: bytes = b"",
        *,
        content_type: str = "application/json",
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Send a complete answer."""
        if status != 204:  # RFC 9110 section 15.3.5: no content, and no length of it
            headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), *headers]
        self.transport.write(self._head(status, headers) + body)
        self._done()

    def start(self, content_type: str) -> None:
        """Begin a chunked answer."""
        headers = [("Content-Type", content_type), ("Cache-Control", "no-cache"), ("Transfer-Encoding", "chunked")]
        self.transport.write(self._head(200, headers))

    def write(self, data: bytes) -> None:
        """Write one chunk."""
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def finish(self) -> None:
        """End a chunked answer properly; the connection may be used again."""
        self.transport.write(b"0\r\n\r\n")
        self._done()

    def close(self) -> None:
        """Close (FIN) after the written bytes: the answer has no end."""
        self.transport.close()

    def reset(self) -> None:
        """Close at once with RST."""
        reset(self.transport)
