"""The handler of the live stream: Server-Sent Events for committed events and for the daemon's state."""

from __future__ import annotations

import asyncio
import socket

import structlog
from aiohttp import web

from notifier.core.errors import StoreUnavailable
from notifier.web.handlers import Call
from notifier.web.hub import Follower, WatchFollower
from notifier.web.requests import StreamQuery

log = structlog.get_logger(__name__)

HEARTBEAT = 15.0  # seconds
PATIENCE = 10.0  # seconds that a write may wait for the client
RETRY = 2000  # milliseconds before a browser connects again
SEND_BUFFER = 128 << 10  # bytes that the system buffers for a slow client

_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # proxies must not buffer it
}


async def stream(call: Call[StreamQuery]) -> web.StreamResponse:
    """Send events as they are committed, from the position of the request on."""
    response = web.StreamResponse(headers=_HEADERS)
    if call.request.method == "HEAD":
        return response
    async with call.api.hub.follow(call.parameters.filter(), call.parameters.position()) as follower:
        await _write(call.request, response, follower)
    return response


async def _write(request: web.Request, response: web.StreamResponse, follower: Follower | WatchFollower) -> None:
    """Write until either side ends the stream. A client that connects again continues after its last event."""
    transport = request.transport
    _limit_buffer(transport)
    frames: bytes | None = f"retry: {RETRY}\n\n".encode()
    next_heartbeat = asyncio.get_running_loop().time() + HEARTBEAT
    try:
        await response.prepare(request)
        while frames is not None:
            now = asyncio.get_running_loop().time()
            if now >= next_heartbeat:
                frames += b":\n\n"
                next_heartbeat = now + HEARTBEAT
            if frames:
                async with asyncio.timeout(PATIENCE):
                    await response.write(frames)
            frames = await follower.next(max(0.0, next_heartbeat - now))
    except TimeoutError:
        log.info("stream.cut", hint="the client does not read; it can connect again and continue after its last event")
        if transport is not None:
            transport.abort()
    except StoreUnavailable:
        log.info(
            "stream.ended",
            hint="the store cannot be read; the client can connect again later",
        )
    except ConnectionError:
        pass  # the client has gone


def _limit_buffer(transport: asyncio.Transport | None) -> None:
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
