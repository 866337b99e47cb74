"""Message brokers that fail: a proxy before a shared one that can be cut, and servers that a test may kill."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from helper_programs import real_clock, require
from ports import free_port
from waits import until

Way = Literal["end", "within", "abort"]  # between two replies, within one, with a reset
WAYS: tuple[Way, ...] = get_args(Way)


class Proxy:
    """A proxy before a server; its connections can be cut."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._port = free_port()
        self._pumps: set[asyncio.Task[None]] = set()
        self._end: tuple[int, Way] | None = None
        self.ended = False

    @property
    def url(self) -> str:
        """Return the server's URL with the proxy's address."""
        user = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{user}@127.0.0.1:{self._port}".lstrip("@")).geturl()

    async def open(self) -> None:
        """Let connections through, at the same address as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    def cut(self) -> None:
        """Reset every connection, as the kernel does for a killed server."""
        for writer in self._writers:
            writer.transport.abort()

    def end_at(self, reply: int, way: Way) -> None:
        """End the next connection in place of the server's reply number `reply`, from 0; then `ended` is true."""
        self._end, self.ended = (reply, way), False

    async def close(self) -> None:
        """Close the proxy and its connections."""
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._writers |= {writer, there_writer}
        end, self._end = self._end, None
        for source, sink, end_at in ((reader, there_writer, None), (there_reader, writer, end)):
            pump = asyncio.create_task(self._pump(source, sink, end_at), name="proxy pump")
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, end_at: tuple[int, Way] | None
    ) -> None:
        count = 0
        try:
            while data := await source.read(65536):
                if end_at is not None and count == end_at[0]:
                    self.ended = True
                    if end_at[1] == "within":
                        sink.write(data[: len(data) // 2])
                    elif end_at[1] == "abort":
                        sink.transport.abort()
                    break
                count += 1
                sink.write(data)
                await sink.drain()
        except OSError:
            pass  # cut
        finally:
            sink.close()
            self._writers.discard(sink)


class OwnServer:
    """A server of the test's own on a port of 127.0.0.1, with its data in a directory."""

    def __init__(self, command: list[str], port: int) -> None:
        self._command = [require(command[0]), *command[1:]]
        self._port = port
        self._process: Process | None = None

    @classmethod
    def redis(cls, directory: Path, port: int, *more: str) -> OwnServer:
        """Create a Redis that writes to disk before it answers."""
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        return cls(["redis-server", "--port", str(port), "--dir", str(directory), *options, *more], port)

    @classmethod
    def nats(cls, directory: Path, port: int, *more: str) -> OwnServer:
        """Create a NATS server with JetStream."""
        return cls(["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(directory), *more], port)

    async def start(self) -> None:
        """Start it; return once it takes connections."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env=real_clock(), stdout=DEVNULL, stderr=DEVNULL
        )

        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                return False
            writer.close()
            await writer.wait_closed()
            return True

        await until(listens, "the server takes connections")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it; return once it has ended."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            await self._process.wait()
