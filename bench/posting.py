"""POSTs that nobody keeps: the floors of `bench.sending`, each a process of its own.

`aiohttp`: its client session on uvloop, as one would write it. `raw`: an asyncio protocol that writes bytes made
beforehand and waits for the reply's end, which is the least that Python and the kernel can do; it does not sign. Not
programs that anyone should run. Prints its figures as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import urlsplit

import aiohttp
import uvloop

from notifier.core.signing import decode_secret, sign

BODY = b'{"type":"task.state_changed","data":"' + b"x" * 420 + b'"}'  # about as long as a change's
WARM = 500  # POSTs that do not count
Post = Callable[[int], Awaitable[None]]


def cpu() -> float:
    """Return the CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def posted(post: Post, numbers: Iterator[int], at_once: int) -> None:
    """POST once for each number, so many at a time."""

    async def work() -> None:
        for number in numbers:
            await post(number)

    async with asyncio.TaskGroup() as group:
        for worker in range(at_once):
            group.create_task(work(), name=f"post {worker}")


async def by_aiohttp(url: str, secret: str, count: int, at_once: int) -> tuple[float, float]:
    """POST signed bodies with aiohttp; return the CPU and wall clock seconds."""
    keys = (decode_secret(secret),)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def post(number: int) -> None:
            message, now = f"msg_{number:032x}", int(time.time())
            headers = {
                "content-type": "application/json",
                "webhook-id": message,
                "webhook-timestamp": str(now),
                "webhook-signature": sign(keys, message, now, BODY),
            }
            async with session.post(url, data=BODY, headers=headers) as response:
                response.raise_for_status()

        return await _measured(post, count, at_once)


class Wire(asyncio.Protocol):
    """One connection of the raw floor; an answer is over with its head."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports only look like asyncio's

    def data_received(self, data: bytes) -> None:
        """Take the answer."""
        assert data.startswith(b"HTTP/1.1 200")
        assert self._answered is not None
        self._answered.set_result(None)

    async def ask(self) -> None:
        """Write a request, and wait for its answer."""
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(self._request)
        await self._answered


async def by_hand(url: str, _secret: str, count: int, at_once: int) -> tuple[float, float]:
    """POST the same bytes again and again; return the CPU and wall clock seconds."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(BODY)}\r\n\r\n"
    request = head.encode() + BODY
    loop = asyncio.get_running_loop()
    idle = [(await loop.create_connection(lambda: Wire(request), host, port))[1] for _ in range(at_once)]

    async def post(_number: int) -> None:
        wire = idle.pop()
        await wire.ask()
        idle.append(wire)

    return await _measured(post, count, at_once)


async def _measured(post: Post, count: int, at_once: int) -> tuple[float, float]:
    await posted(post, iter(range(WARM)), at_once)
    used, began = cpu(), time.monotonic()
    await posted(post, iter(range(count)), at_once)
    return cpu() - used, time.monotonic() - began


KINDS = {"aiohttp": by_aiohttp, "raw": by_hand}


def main() -> None:
    """Run a floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--at-once", type=int, required=True)
    args = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        used, seconds = runner.run(KINDS[args.kind](args.url, args.secret, args.count, args.at_once))
    print(json.dumps({"cpu": used, "seconds": seconds}))


if __name__ == "__main__":
    main()
