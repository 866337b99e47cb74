"""A client that sees every byte of a reply as it came over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One reply, taken apart."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes  # chunks joined, or all that came
    complete: bool  # its end was marked: last chunk, or the whole length
    reset: bool  # the connection ended with RST


def take_apart(raw: bytes, *, reset: bool = False) -> Reply:
    """Read the head and join the chunks, strictly."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    body, complete = rest, len(rest) == int(headers.get("content-length", "0"))
    if headers.get("transfer-encoding") == "chunked":
        body, complete = b"", False
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            body += rest[:length]
            assert rest[length : length + 2] == b"\r\n"
            rest = rest[length + 2 :]
            if length == 0:
                assert rest == b""
                complete = True
    return Reply(status=int(lines[0].split(" ")[1]), headers=headers, body=body, complete=complete, reset=reset)


@asynccontextmanager
async def connect(base_url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a plain connection."""
    url = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=16 << 20)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def get(base_url: str, target: str, *, token: str = "t") -> Reply:
    """GET on a connection of its own; return when the server has closed it."""
    async with connect(base_url) as (reader, writer):
        writer.write(request(target, token=token, close=True))
        raw, reset = b"", False
        try:
            while part := await reader.read(1 << 20):
                raw += part
        except ConnectionResetError:
            reset = True
        if not raw:
            return Reply(status=0, headers={}, body=b"", complete=False, reset=reset)
        return take_apart(raw, reset=reset)


def request(target: str, *, token: str = "t", close: bool = False) -> bytes:
    """Write a request."""
    closing = "Connection: close\r\n" if close else ""
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{closing}\r\n".encode()
