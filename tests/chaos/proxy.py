"""A TCP proxy that misbehaves on request: it delays, holds back, forsakes and resets connections."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

from chaos.upstream import reset


class Proxy:
    """Passes connections on to a port of this machine."""

    def __init__(self, to: int) -> None:
        self.port = 0
        self.latency = 0.0  # seconds for each piece of data
        self.refusing = False  # new connections
        self._to = to
        self._passing = asyncio.Event()
        self._passing.set()
        self._pairs: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._forsaken: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop everything."""
        assert self._server is not None
        self._server.close()
        self.pass_on()
        self.reset()
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        """Count the connections that are open."""
        return len(self._pairs)

    def stall(self) -> None:
        """Hold all data back; connections stay open."""
        self._passing.clear()

    def pass_on(self) -> None:
        """Pass data on again, first what was held back."""
        self._passing.set()

    def forsake(self) -> None:
        """Swallow the data of present connections from now on, in both directions; none of their ends is told."""
        self._forsaken.update(self._pairs, self._pairs.values())

    def reset(self) -> int:
        """End all connections with RST, on both sides; return how many."""
        pairs = list(self._pairs.items())
        for pair in pairs:
            for writer in pair:
                reset(writer)
        return len(pairs)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            reset(writer)
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            reset(writer)
            return
        self._pairs[writer] = back
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        finally:
            del self._pairs[writer]
            for each in (writer, back):
                self._forsaken.discard(each)
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy to the end; a connection that ends on one side ends on the other, unless it is forsaken."""
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if self.latency:
                    await asyncio.sleep(self.latency)
                await self._passing.wait()
                if writer not in self._forsaken:
                    writer.write(data)
                    await writer.drain()
        if writer not in self._forsaken and not writer.transport.is_closing():
            with suppress(OSError):
                writer.write_eof()
