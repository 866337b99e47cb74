"""A receiver on a raw socket that answers, or does not, exactly as a test says, and remembers what it was sent."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from notifier.core.model import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came."""

    number: int  # 0, 1, 2 ... of all
    connection: int  # which it came on
    line: str
    headers: dict[str, str]  # names in lower case
    body: bytes


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Receiver:
    """What came, and where to send."""

    port: int = 0
    scheme: str = "http"
    connections: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)  # notified of each connection
    requests: list[Request] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)  # a request came
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)  # the sender closed a connection

    async def connected(self, times: int) -> None:
        """Wait until that many connections were made."""
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(lambda: self.connections >= times), 10)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"


def reply(status: int = 200, body: bytes = b"ok", **headers: str) -> bytes:
    """Write a whole reply; `_` in a header's name stands for `-`."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def says(*replies: bytes) -> Answer:
    """Answer with these, one after another, the last one for ever."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(replies[min(request.number, len(replies) - 1)])

    return answer


async def silence(_request: Request, _writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def hang_up(_request: Request, writer: asyncio.StreamWriter) -> None:
    """Close without an answer."""
    writer.close()


async def reset(_request: Request, writer: asyncio.StreamWriter) -> None:
    """Break the connection with an RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def receiving(
    answer: Answer,
    tls: ssl.SSLContext | None = None,
    *,
    greeting: bytes = b"",
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Receiver]:
    """Run a receiver; it may speak first."""
    receiver = Receiver(scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, receiver.connections = receiver.connections, receiver.connections + 1
        async with receiver.changed:
            receiver.changed.notify_all()
        writer.write(greeting)
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *rest = head.split("\r\n")
                headers = {name.lower(): value for name, _, value in (row.partition(": ") for row in rest if row)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = Request(
                    number=len(receiver.requests), connection=number, line=line, headers=headers, body=body
                )
                receiver.requests.append(request)
                receiver.came.set()
                await answer(request, writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, RuntimeError):  # the last is uvloop's, of a closed one
            receiver.hung_up.set()
        finally:
            writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer), name="receiver")
        tasks.add(task)

    server = await asyncio.start_server(connected, host, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def delivery(body: bytes = b'{"type":"task.succeeded"}', number: int = 1) -> Delivery:
    """Make a delivery."""
    return Delivery(
        id=number,
        endpoint="app",
        event_id=f"msg_{number}",
        event_type="task.succeeded",
        body=body,
        lane=1,
        observed_at=0,
    )
