"""A small HTTP proxy: opens tunnels, passes requests on, asks for credentials, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class ForwardProxy:
    """What it does, and what came."""

    credentials: str | None = None  # user:password that it asks for
    refuse: int | None = None  # the status that it answers every request with
    url: str = ""
    asked: list[str] = field(default_factory=list)  # first lines of requests
    heads: list[str] = field(default_factory=list)  # whole heads
    tunnelled: bytearray = field(default_factory=bytearray)  # what clients sent through tunnels

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *rows = head.split("\r\n")
            headers = {name.lower(): value for name, _, value in (row.partition(": ") for row in rows if row)}
            self.asked.append(line)
            self.heads.append(head)
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, target, _ = line.split(" ")
            if status := self._refusal(headers):
                writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
            elif method == "CONNECT":
                return await self._tunnel(target, reader, writer)
            else:
                await self._pass_on(f"{method} {urlsplit(target).path} HTTP/1.1", target, rows, body, writer)

    def _refusal(self, headers: dict[str, str]) -> int | None:
        if self.credentials is not None:
            expected = "Basic " + base64.b64encode(self.credentials.encode()).decode()
            if headers.get("proxy-authorization") != expected:
                return 407
        return self.refuse

    async def _tunnel(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        inner_reader, inner_writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy(reader, inner_writer, keep=True), name="out")
                both.create_task(self._copy(inner_reader, writer, keep=False), name="back")
        finally:
            inner_writer.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep: bool) -> None:
        while data := await reader.read(65536):
            if keep:
                self.tunnelled += data
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _pass_on(
        self, line: str, target: str, rows: list[str], body: bytes, writer: asyncio.StreamWriter
    ) -> None:
        parts = urlsplit(target)
        inner_reader, inner_writer = await asyncio.open_connection(parts.hostname, parts.port)
        kept = [row for row in rows if row and not row.lower().startswith("proxy-")]
        inner_writer.write("\r\n".join([line, *kept, "", ""]).encode("latin-1") + body)
        head = await inner_reader.readuntil(b"\r\n\r\n")
        length = next(int(row[16:]) for row in head.decode().split("\r\n") if row.startswith("Content-Length: "))
        writer.write(head + await inner_reader.readexactly(length))
        inner_writer.close()


@asynccontextmanager
async def proxying(*, credentials: str | None = None, refuse: int | None = None) -> AsyncIterator[ForwardProxy]:
    """Run a proxy."""
    proxy = ForwardProxy(credentials=credentials, refuse=refuse)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await proxy.serve(reader, writer)
        finally:
            writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(serve(reader, writer), name="proxy"))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
