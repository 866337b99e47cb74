"""A workspace of Slack on a real socket: the two methods of its Web API that post and edit, with Slack's limits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from served import served
from waits import PATIENCE

TOKEN = "xoxb-1234567890-t0ps3cr3t"


@dataclass(slots=True)
class Message:
    """A message as the channel shows it."""

    text: str
    attachments: list[Any]
    thread: str | None
    edits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The next call goes wrong: refused with a word or a status, or done and never answered."""

    word: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    lost: bool = False


class Workspace:
    """Channels `ops` (C0OPS) and `video` (C0VIDEO), and a bot that is in both."""

    def __init__(self, *, interval: float = 0.0) -> None:
        self.url = ""
        self.interval = interval  # seconds between two calls to a channel, else they are refused
        self.channels = {"ops": "C0OPS", "video": "C0VIDEO"}
        self.messages: dict[tuple[str, str], Message] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []  # that were accepted
        self.faults: deque[Fault] = deque()
        self.refused = 0  # calls that came too soon
        self._last: dict[str, float] = {}
        self._number = 0
        self._changed = asyncio.Condition()

    def shown(self, channel: str = "ops", *, thread: bool = False) -> list[Message]:
        """Return the messages of a channel, or those of its threads, oldest first."""
        wanted = self.channels[channel]
        return [m for (place, _), m in self.messages.items() if place == wanted and (m.thread is not None) == thread]

    def delete(self, ts: str) -> None:
        """Delete a message, as a person does."""
        for key in [key for key in self.messages if key[1] == ts]:
            del self.messages[key]

    async def accepted(self, count: int) -> None:
        """Wait until so many calls were accepted."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: len(self.calls) >= count)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        method, body = request.match_info["method"], await request.json()
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and not fault.lost:
            answer = {"ok": False, "error": fault.word} if fault.word else {}
            return web.json_response(answer, status=fault.status, headers=fault.headers)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"ok": False, "error": "invalid_auth"})
        channel = self.channels.get(body["channel"], body["channel"])
        if channel not in self.channels.values():
            return web.json_response({"ok": False, "error": "channel_not_found"})
        now = asyncio.get_running_loop().time()
        if now - self._last.get(channel, -1e9) < self.interval:
            self.refused += 1
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": "1"})
        self._last[channel] = now
        answer = self._post(channel, body) if method == "chat.postMessage" else self._update(channel, body)
        if answer["ok"]:
            async with self._changed:
                self.calls.append((method, body))
                self._changed.notify_all()
        if fault is not None and request.transport is not None:
            request.transport.abort()
        return web.json_response(answer)

    def _post(self, channel: str, body: dict[str, Any]) -> dict[str, Any]:
        if not body.get("text"):
            return {"ok": False, "error": "no_text"}
        self._number += 1
        ts = f"1700000000.{self._number:06d}"
        message = Message(body["text"], body.get("attachments", []), body.get("thread_ts"))
        self.messages[channel, ts] = message
        return {"ok": True, "channel": channel, "ts": ts, "message": {"text": message.text, "ts": ts}}

    def _update(self, channel: str, body: dict[str, Any]) -> dict[str, Any]:
        if body["channel"] not in self.channels.values():  # an edit takes ids only
            return {"ok": False, "error": "channel_not_found"}
        message = self.messages.get((channel, body["ts"]))
        if message is None:
            return {"ok": False, "error": "message_not_found"}
        message.text, message.edits = body["text"], message.edits + 1
        message.attachments = body.get("attachments", message.attachments)
        return {"ok": True, "channel": channel, "ts": body["ts"], "text": message.text}


@asynccontextmanager
async def workspace(*, interval: float = 0.0) -> AsyncIterator[Workspace]:
    """Run a workspace."""
    slack = Workspace(interval=interval)
    app = web.Application()
    app.router.add_post("/api/{method}", slack.serve)
    async with served(app) as url:
        slack.url = f"{url}/api"
        yield slack
