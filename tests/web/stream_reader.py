"""A client of the live stream that reads it as a browser does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from site_running import Site
from waits import PATIENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One event of the stream."""

    id: str | None
    type: str
    data: Any


class Reader:
    """An open stream, read as a browser reads it."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.comments = 0

    async def next(self) -> Told | None:
        """Return the next event; None at the end."""
        found: dict[str, str] = {}
        while line := (await self._reader.readline()).decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if line == "\n" and "data" in found:
                return Told(id=found.get("id"), type=found["event"], data=json.loads(found["data"]))
            if line.startswith(":"):
                self.comments += 1
            elif line != "\n":
                found[name] = value
        return None

    async def events(self, count: int) -> list[Told]:
        """Return the next events that are not a status."""
        found: list[Told] = []
        async with asyncio.timeout(PATIENCE):
            while len(found) < count:
                told = await self.next()
                assert told is not None
                if told.type != "status":
                    assert told.id == told.data["cursor"]
                    found.append(told)
        return found

    async def status(self) -> Told:
        """Return the next status."""
        async with asyncio.timeout(PATIENCE):
            while (told := await self.next()) is not None:
                if told.type == "status":
                    return told
        raise AssertionError


@asynccontextmanager
async def listening(site: Site, query: str = "", last: str | None = None) -> AsyncIterator[Reader]:
    """Open the stream, and read the events from here on."""
    host, _, port = (site.app.address or "").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    resume = f"Last-Event-ID: {last}\r\n" if last else ""
    writer.write(f"GET /v1/stream{query} HTTP/1.0\r\nHost: {site.app.address}\r\n{resume}\r\n".encode())
    try:
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.0 200"), head
            assert b"Content-Type: text/event-stream" in head
            assert await reader.readuntil(b"\n\n") == b"retry: 2000\n\n"
        yield Reader(reader)
    finally:
        writer.close()


async def add(site: Site, *ids: str) -> None:
    assert (await site.post("/v1/watches", json.dumps(ids).encode())).status == 201
