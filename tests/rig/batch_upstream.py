"""An upstream that answers for many tasks at once, and for one; every request is remembered with its ids."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Self

from aiohttp import web
from served import served
from waits import until


class BatchUpstream:
    """Serves `POST /batch` with `{"ids": [...]}`, `GET /batch?ids=`, and `GET /jobs/ID`."""

    def __init__(self, shape: Callable[[dict[str, str]], Any]) -> None:
        """Answer for several tasks with `shape` of the states by id."""
        self.states: dict[str, str] = {}  # of the tasks that are known
        self.default: str | None = "busy"  # of every other; None: they are not known
        self.shape = shape
        self.status = 200
        self.reply_headers: dict[str, str] = {}
        self.batches: list[list[str]] = []
        self.times: list[float] = []  # of time.monotonic()
        self.single: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self._served = AsyncExitStack()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/batch", self._several)
        app.router.add_get("/jobs/{id}", self._one)
        self.url = await self._served.enter_async_context(served(app, keepalive_timeout=3600))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._served.aclose()

    async def asked(self, count: int) -> None:
        """Wait for so many requests for several tasks."""
        await until(lambda: len(self.batches) >= count)

    def told(self, ids: list[str]) -> dict[str, str]:
        """Return the states of the tasks that are known."""
        found = {task: self.states.get(task, self.default) for task in ids}
        return {task: state for task, state in found.items() if state is not None}

    async def _several(self, request: web.Request) -> web.Response:
        ids = request.query["ids"].split(",") if request.method == "GET" else (await request.json())["ids"]
        self.batches.append(ids)
        self.times.append(time.monotonic())
        self.headers.append(dict(request.headers))
        body = "{}" if self.status != 200 else json.dumps(self.shape(self.told(ids)))
        headers = {"Content-Type": "application/json", **self.reply_headers}
        return web.Response(status=self.status, body=body.encode(), headers=headers)

    async def _one(self, request: web.Request) -> web.Response:
        task = request.match_info["id"]
        self.single.append(task)
        told = self.told([task])
        if not told:
            return web.Response(status=404, body=b"{}")
        return web.json_response({"data": {"task_id": task, "status": told[task]}})
