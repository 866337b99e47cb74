"""The handler for the live stream: Server-Sent Events of what is committed, and of how things stand."""

from __future__ import annotations

import asyncio
import socket

import structlog
from aiohttp import web

from notifier.core.errors import StoreUnavailable
from notifier.web import query
from notifier.web.control import CONTROL
from notifier.web.hub import Follower, TooMany
from notifier.web.problem import problem

log = structlog.get_logger(__name__)

HEARTBEAT = 15.0  # seconds
PATIENCE = 10.0  # seconds that a write may wait for whoever reads
RETRY = 2000  # milliseconds until a browser connects again
SEND_BUFFER = 128 << 10  # bytes that the system keeps for one who reads slowly

_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy is not to hold it back
}


async def stream(request: web.Request) -> web.StreamResponse:
    """Send what happens as it is committed; goes on after `Last-Event-ID`, or `after`."""
    which = query.event_filter(request.query)
    seen = request.headers.get("Last-Event-ID") or request.query.get("after")
    after = None if seen is None else query.event_after(seen, "Last-Event-ID or after")
    response = web.StreamResponse(headers=_HEADERS)
    if request.method == "HEAD":
        return response
    try:
        async with request.app[CONTROL].hub.follow(which, after) as follower:
            await response.prepare(request)
            await _tell(request, response, follower)
    except TooMany as exc:
        refused = problem(503, str(exc))
        refused.headers["Retry-After"] = "10"
        return refused
    return response


async def _tell(request: web.Request, response: web.StreamResponse, follower: Follower) -> None:
    """Write until either side ends it. What is not written by then is read again by whoever comes back."""
    transport = request.transport
    _bound(transport)
    heard = f"retry: {RETRY}\n\n".encode()
    next_heartbeat = asyncio.get_running_loop().time() + HEARTBEAT
    try:
        while heard is not None:
            now = asyncio.get_running_loop().time()
            if now >= next_heartbeat:
                heard += b":\n\n"
                next_heartbeat = now + HEARTBEAT
            if heard:
                async with asyncio.timeout(PATIENCE):
                    await response.write(heard)
            told = await follower.next(max(0.0, next_heartbeat - now))
            if told is None:
                return
            heard = told
    except TimeoutError:
        log.info("stream.cut", hint="its reader does not read; it may come back and go on where it was")
        if transport is not None:
            transport.abort()
    except StoreUnavailable:
        log.info("stream.ended", hint="the store cannot be read; its reader may come back and go on where it was")
    except ConnectionResetError:
        pass  # the reader has gone


def _bound(transport: asyncio.Transport | None) -> None:
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
