"""The cost of bare aiohttp: the least code that does the job, with the least memory for each stream.

Raw chunks, lines split by hand, JSON read only when the bytes differ, one signed POST for every change. Not a program
that anyone should run: a floor to measure from. With asyncio's own loop and TLS the receive buffer is cut to 16 KiB.
"""

from __future__ import annotations

import argparse
import asyncio
import asyncio.sslproto
import base64
import hashlib
import hmac
import json
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop

TERMINAL = {"success", "failed", "canceled"}
CONNECTING_AT_ONCE = 200  # keeps the peak of the connect phase out of the memory of an idle stream
TLS_BUFFER = 16_384  # bytes; one TLS record. Stock asyncio allocates 256 KiB for each connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The parts that all streams share."""

    session: aiohttp.ClientSession
    gate: asyncio.Semaphore
    upstream: str
    callback: str
    headers: dict[str, str]
    key: bytes

    async def post(self, task_id: str, state: str, number: int) -> None:
        """POST one change, signed."""
        body = b'{"type":"task.state_changed","data":{"watch":{"id":"%b"},"state":"%b"}}' % (
            task_id.encode(),
            state.encode(),
        )
        message_id = f"msg_{task_id}_{number}"
        timestamp = str(int(time.time()))
        digest = hmac.digest(self.key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }
        async with self.session.post(self.callback, data=body, headers=headers) as response:
            response.raise_for_status()

    async def follow(self, task_id: str) -> None:
        """Follow one task to its end."""
        async with self.gate:
            response = await self.session.get(f"{self.upstream}/vidu/v1/tasks/state?id={task_id}", headers=self.headers)
        tail = last = b""
        number = 0
        async with response:
            async for chunk in response.content.iter_any():
                *lines, tail = (tail + chunk).split(b"\n")
                for line in lines:
                    if not line.startswith(b"data: ") or line == last:
                        continue
                    last = line
                    number += 1
                    state = json.loads(line[6:])["state"]
                    await self.post(task_id, state, number)
                    if state in TERMINAL:
                        return


async def run(args: argparse.Namespace) -> None:
    """Follow every task, then stay up."""
    trust: ssl.SSLContext | bool = ssl.create_default_context(cafile=args.ca) if args.ca else True
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=trust), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        floor = Floor(
            session=session,
            gate=asyncio.Semaphore(CONNECTING_AT_ONCE),
            upstream=args.upstream,
            callback=args.callback,
            headers={"authorization": f"Bearer {args.token}", "accept": "text/event-stream"},
            key=base64.b64decode(args.secret.removeprefix("whsec_")),
        )
        async with asyncio.TaskGroup() as group:
            for task_id in args.ids.read_text(encoding="utf-8").split():
                group.create_task(floor.follow(task_id), name=f"follow {task_id}")
        await asyncio.Event().wait()


def main() -> None:
    """Run the floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--callback", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--ids", type=Path, required=True, help="a file with one id a line")
    parser.add_argument("--ca", help="PEM of the authority that signed the upstream's certificate")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], required=True)
    args = parser.parse_args()
    if args.loop == "asyncio":
        asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER
    factory = uvloop.new_event_loop if args.loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run(args))


if __name__ == "__main__":
    main()
