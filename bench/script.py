"""The script that a user would write instead: aiohttp-sse-client, aiohttp, a loop over the ids.

One shared session, one task for each id, a signed POST for every change. It keeps nothing on disk, retries nothing and
knows one secret: what it saves there is the point of comparing the daemon with it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from aiohttp_sse_client.client import EventSource

TERMINAL = {"success", "failed", "canceled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where to listen and whom to tell."""

    upstream: str
    callback: str
    token: str
    key: bytes


async def notify(session: aiohttp.ClientSession, settings: Settings, task_id: str, data: dict[str, object]) -> None:
    """POST one change, signed as Standard Webhooks 1.0.0 says."""
    body = json.dumps(
        {
            "type": "task.state_changed",
            "timestamp": datetime.now(UTC).isoformat(),
            "data": {"watch": {"id": task_id}, "state": data["state"], "task": data},
        }
    ).encode()
    message_id = f"msg_{uuid.uuid4().hex}"
    timestamp = str(int(time.time()))
    digest = hmac.new(settings.key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
    async with session.post(settings.callback, data=body, headers=headers) as response:
        response.raise_for_status()


async def follow(session: aiohttp.ClientSession, settings: Settings, task_id: str) -> None:
    """Follow one task to its end."""
    state = None
    url = f"{settings.upstream}/vidu/v1/tasks/state?id={task_id}"
    headers = {"authorization": f"Bearer {settings.token}"}
    async with EventSource(url, session=session, headers=headers) as events:
        async for event in events:
            data = json.loads(event.data)
            if data["state"] != state:
                state = data["state"]
                await notify(session, settings, task_id, data)
            if state in TERMINAL:
                return


async def run(settings: Settings, ids: list[str]) -> None:
    """Follow every task, then stay up as a service does."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(follow(session, settings, task_id) for task_id in ids))
        await asyncio.Event().wait()


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--callback", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--ids", type=Path, required=True, help="a file with one id a line")
    args = parser.parse_args()
    key = base64.b64decode(args.secret.removeprefix("whsec_"))
    settings = Settings(upstream=args.upstream, callback=args.callback, token=args.token, key=key)
    asyncio.run(run(settings, args.ids.read_text(encoding="utf-8").split()))


if __name__ == "__main__":
    main()
