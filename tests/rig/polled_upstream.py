"""An upstream that is polled: each request for a task gets the task's present answer; every request is remembered."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from served import served
from waits import until


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One reply."""

    body: Any = None  # JSON, unless it is bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False  # no reply ever
    gate: asyncio.Event | None = None  # no reply before it is set

    @property
    def data(self) -> bytes:
        """Return the body as sent."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def state(word: str, **more: Any) -> Answer:
    """Answer with a state."""
    return Answer(body={"status": word, **more})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request."""

    task: str
    at: float  # of time.monotonic()
    headers: dict[str, str]
    path: str
    peer: Any  # the connection's address


class PolledUpstream:
    """Serves `/jobs/ID`. A script's last answer is given again and again."""

    def __init__(self, default: Sequence[Answer] = (state("busy"),)) -> None:
        self.requests: list[Asked] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._default = tuple(default)
        self._scripts: dict[str, deque[Answer]] = {}
        self._by_task: dict[str, int] = defaultdict(int)
        self._served = AsyncExitStack()
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self.url = await self._served.enter_async_context(served(app, keepalive_timeout=3600))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._served.aclose()

    def script(self, task: str, *answers: Answer) -> None:
        """Give these answers from now on."""
        self._scripts[task] = deque(answers)

    def count(self, task: str) -> int:
        """Return how often a task was asked for."""
        return self._by_task[task]

    def times(self, task: str | None = None) -> list[float]:
        """Return when a task was asked for, or any."""
        return [asked.at for asked in self.requests if task in (None, asked.task)]

    async def asked(self, task: str, count: int) -> None:
        """Wait until a task was asked for so often."""
        await until(lambda: self._by_task[task] >= count)

    async def wait(self, ready: Callable[[Self], bool]) -> None:
        """Wait until something holds."""
        await until(lambda: ready(self))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        task = request.query.get("id") or request.path.rsplit("/", 1)[-1]
        self.requests.append(
            Asked(
                task=task,
                at=time.monotonic(),
                headers=dict(request.headers),
                path=request.raw_path,
                peer=request.transport.get_extra_info("peername") if request.transport else None,
            )
        )
        self._by_task[task] += 1
        script = self._scripts.setdefault(task, deque(self._default))
        answer = script.popleft() if len(script) > 1 else script[0]
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if answer.gate is not None:
                await answer.gate.wait()
            if answer.hang:
                await self._forever(request)
            headers = {"Content-Type": "application/json"} | answer.headers
            return web.Response(body=answer.data, status=answer.status, headers=headers)
        finally:
            self.in_flight -= 1

    async def _forever(self, request: web.Request) -> None:
        transport = request.transport
        await until(lambda: transport is None or transport.is_closing())
