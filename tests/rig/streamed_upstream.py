"""A polled upstream that also has a stream for each task, at `/jobs/ID/stream`; and a source of it."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from parts import Rig, quick, rig, webhook
from polled_upstream import Asked, PolledUpstream
from waits import until

from notifier.follow.feed import Feed
from notifier.sources.plan import SourceSettings
from notifier.sources.preset import Preset
from notifier.sources.sse import SseSource
from notifier.tools.listener import Listener

STATES: dict[str, Any] = {"queued": ["new"], "running": ["busy"], "succeeded": ["ok"], "failed": ["bad"]}
STREAM: dict[str, Any] = {
    "url": "{base_url}/jobs/{id}/stream",
    "paths": {"state": "status"},
    "states": STATES,
}
POLL: dict[str, Any] = {
    "transport": "poll",
    "url": "{base_url}/jobs/{id}",
    "paths": {"state": "status"},
    "states": STATES,
    "poll": {"interval": "50ms", "max_interval": "50ms", "growth": 1},
}


def told(word: str, **more: Any) -> bytes:
    """Return an event that tells a state; `id` and `event` are fields of the event."""
    fields = [f"{name}: {more.pop(name)}\n" for name in ("event", "id") if name in more]
    return ("".join(fields) + f"data: {json.dumps({'status': word, **more})}\n\n").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """One connection: what it sends before it closes, or holds."""

    parts: Sequence[bytes] = ()
    hold: bool = False  # it stays open
    status: int = 200
    body: bytes = b""  # of a refusal
    headers: dict[str, str] = field(default_factory=dict)


class StreamedUpstream(PolledUpstream):
    """Serves streams as well. A script's last connection comes again and again."""

    def __init__(self, *more: Any) -> None:
        super().__init__(*more)
        self.streams: list[Asked] = []
        self._connections: dict[str, deque[Streamed]] = {}

    def stream(self, task: str, *connections: Streamed) -> None:
        """Give these connections from now on."""
        self._connections[task] = deque(connections)

    def streamed(self, task: str) -> int:
        """Return how often a task's stream was asked for."""
        return sum(asked.task == task for asked in self.streams)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/stream"):
            return await super()._answer(request)
        task = request.path.split("/")[-2]
        self.streams.append(
            Asked(task=task, at=time.monotonic(), headers=dict(request.headers), path=request.raw_path, peer=None)
        )
        script = self._connections.get(task) or deque([Streamed(status=404)])
        one = script.popleft() if len(script) > 1 else script[0]
        if one.status != 200:
            return web.Response(status=one.status, body=one.body, headers=one.headers)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"} | one.headers)
        await response.prepare(request)
        for part in one.parts:
            await response.write(part)
        if one.hold:
            transport = request.transport
            await until(lambda: transport is None or transport.is_closing())
        return response


@asynccontextmanager
async def streaming(
    tmp_path: Path,
    upstream: PolledUpstream,
    listener: Listener,
    *,
    preset: dict[str, Any] | None = None,
    twin: dict[str, Any] | None = None,
    result_timeout: float = 60.0,
    **limits: Any,
) -> AsyncIterator[tuple[Rig, Feed]]:
    """Follow an upstream by streams, with a twin if its fields are given; `limits` are the policy's."""
    described = Preset.model_validate({"base_url": upstream.url, **STREAM, **(preset or {})})
    polled = None if twin is None else Preset.model_validate({"base_url": upstream.url, **POLL, **twin})

    def settings(preset: Preset, **more: Any) -> SourceSettings:
        return SourceSettings(preset=preset, token="tok", connect_timeout=10.0, result_timeout=result_timeout, **more)

    async with rig(tmp_path) as made:
        source = SseSource(
            name="vidu",
            settings=settings(described, twin=None if polled is None else settings(polled)),
            max_streams=100,
            user_agent="test",
            metrics=made.metrics,
        )
        made.sources.append(source)
        made.set_endpoints({"app": webhook(listener.url)})
        limits = {
            "poll": None if polled is None else polled.poll,
            "resume_window": described.resume_window,
            "request_rate": 5000.0,
        } | limits
        feed = made.feed(source, quick(**limits))
        made.watcher.set_feeds({"vidu": feed})
        yield made, feed
