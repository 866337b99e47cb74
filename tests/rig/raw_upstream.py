"""An upstream whose every byte the test chooses, and a source that reads it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import psutil
import pytest
from waits import PATIENCE, until

from notifier.core.errors import SourceError
from notifier.core.eventstream import MAX_EVENT
from notifier.core.model import Observation
from notifier.runtime.metrics import Metrics
from notifier.sources.plan import SourceSettings
from notifier.sources.preset import Preset, raw
from notifier.sources.sse import SseSource, SseStream

TOKEN = "sk-not-for-any-log"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED_HEAD = STREAM_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSED_HEAD = STREAM_HEAD + b"\r\n"


class Peer:
    """The upstream's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.request = ""
        self.headers: dict[str, str] = {}  # names in lower case
        self.leaving: asyncio.Task[None] | None = None

    async def read_request(self) -> None:
        self.request = (await self.reader.readuntil(b"\r\n\r\n")).decode("utf-8")
        lines = self.request.split("\r\n")[1:-2]
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def target(self) -> str:
        return self.request.split(" ")[1]

    async def send(self, *parts: bytes) -> None:
        """Send each part in a segment of its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def chunk(self, *parts: bytes) -> None:
        await self.send(*(b"%x\r\n%s\r\n" % (len(part), part) for part in parts))

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Send RST in place of an orderly end."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def hang(self) -> None:
        """Read nothing more, not even the end of the connection."""
        cast(asyncio.Transport, self.writer.transport).pause_reading()

    async def gone(self) -> None:
        """Return once the other side let go; several may wait."""
        if self.leaving is None:
            self.leaving = asyncio.create_task(self._read_to_end(), name="upstream.leaving")
        await asyncio.wait({self.leaving})
        self.leaving.result()

    async def _read_to_end(self) -> None:
        with suppress(ConnectionError):
            assert await self.reader.read() == b"", "nothing follows a request"


Behaviour = Callable[[Peer], Awaitable[None]]


@dataclass
class Upstream:
    url: str
    peers: list[Peer] = field(default_factory=list)  # in the order of their requests


@asynccontextmanager
async def serve(behaviour: Behaviour, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
    """Listen on a free port and run the behaviour for every connection; an exception in it fails the test."""
    tasks: set[asyncio.Task[None]] = set()
    transports: set[asyncio.WriteTransport] = set()

    async def treat(peer: Peer) -> None:
        try:
            await peer.read_request()
            upstream.peers.append(peer)
            await behaviour(peer)
        except (asyncio.IncompleteReadError, ConnectionError):  # the other side was the first to go
            peer.writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transports.add(writer.transport)
        tasks.add(asyncio.create_task(treat(Peer(reader, writer)), name="upstream"))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    upstream = Upstream(f"{'https' if tls else 'http'}://127.0.0.1:{port}")
    try:
        yield upstream
    finally:
        server.close()
        tasks |= {peer.leaving for peer in upstream.peers if peer.leaving is not None}
        for task in tasks:
            task.cancel()
        endings = await asyncio.gather(*tasks, return_exceptions=True)
        for transport in transports:
            transport.abort()
        await asyncio.sleep(0)
        assert [ending for ending in endings if isinstance(ending, Exception)] == []


def reply(*parts: bytes, then: Callable[[Peer], None] = Peer.close) -> Behaviour:
    """Make a behaviour: send these parts, then end the connection in this way."""

    async def behave(peer: Peer) -> None:
        await peer.send(*parts)
        then(peer)

    return behave


def stay(*parts: bytes) -> Behaviour:
    """Make a behaviour: send these parts, and wait for the other side to go."""

    async def behave(peer: Peer) -> None:
        await peer.send(*parts)
        await peer.gone()

    return behave


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a whole reply."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class Following:
    """A source, and its counters."""

    source: SseSource

    @property
    def reports(self) -> int:
        """Return how many snapshots were read, repeats included."""
        return int(self.source.observations.value)

    @property
    def unreadable(self) -> int:
        """Return how many could not be read."""
        return int(self.source.unreadable.value)


@asynccontextmanager
async def following(
    base_url: str,
    /,
    *,
    token: str | None = TOKEN,
    connect_timeout: float = PATIENCE,
    tls: ssl.SSLContext | bool = True,
    proxy: str | None = None,
    max_event: int = MAX_EVENT,
    preset: str = "vidu",
    **fields: Any,
) -> AsyncIterator[Following]:
    """Make a source for a preset, some of its fields replaced; closed in the end."""
    source = SseSource(
        name="upstream",
        settings=SourceSettings(
            preset=preset_of(preset, base_url=base_url, **fields),
            token=token,
            connect_timeout=connect_timeout,
            max_event=max_event,
            ssl=tls,
            proxy=proxy,
        ),
        max_streams=10,
        user_agent="notifier/test",
        metrics=Metrics(),
    )
    try:
        yield Following(source)
    finally:
        await source.close()


def preset_of(name: str, **fields: Any) -> Preset:
    return Preset.model_validate({**raw(name), **fields})


async def read_all(stream: SseStream) -> tuple[list[str | None], BaseException | None]:
    """Read to the end; return the states, and the error that ended it if one did."""
    states: list[str | None] = []
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                states.append((await anext(stream)).state)
    except StopAsyncIteration:
        return states, None
    except Exception as exc:
        return states, exc
    finally:
        stream.close()


async def read_next(stream: SseStream) -> Observation:
    async with asyncio.timeout(PATIENCE):
        return await anext(stream)


async def settled(descriptors_before: int) -> None:
    """Wait until no descriptor is open that was not before, and no task is left but the test's."""
    # Nothing tells when the last callback of a transport has run.
    await until(lambda: descriptors() <= descriptors_before and len(asyncio.all_tasks()) == 1, timeout=PATIENCE)


def descriptors() -> int:
    """Count the TCP sockets that this process has open; other descriptors an event loop makes as it needs them."""
    return len(psutil.Process().net_connections("tcp"))


async def opening_fails(*parts: bytes, **options: Any) -> SourceError:
    """Open a stream to an upstream that answers so; require that nothing is left open, and return the error."""
    before = descriptors()
    async with serve(reply(*parts)) as upstream, following(upstream.url, **options) as here:
        with pytest.raises(SourceError) as caught:
            await here.source.open("2370487727425660")
        assert len(upstream.peers) == 1, "one open is one request"
        assert TOKEN not in str(caught.value)
        assert upstream.url not in str(caught.value)
    await settled(before)
    return caught.value


def snapshot(state: str) -> bytes:
    return b'{"state":"%s"}' % state.encode()


ONE, TWO = b"data: " + snapshot("processing"), b"data: " + snapshot("success")


def chunk(data: bytes) -> bytes:
    """Frame as one chunk (RFC 9112 section 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


async def arrives(stream: SseStream) -> bool:
    """Return whether something is there to be read now; leaves the stream as it was."""
    reading = asyncio.ensure_future(anext(stream))
    done, _ = await asyncio.wait({reading}, timeout=0.05)
    reading.cancel()
    await asyncio.wait({reading})
    return bool(done)
