"""A receiver that keeps requests as they came, for other people's verifiers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from served import served
from waits import PATIENCE

from notifier.tools.waiting import Waiters


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request as it came."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    at: float = 0.0  # Unix seconds

    @property
    def id(self) -> str:
        """Return the `webhook-id`."""
        return self.headers["webhook-id"]


class Receiver:
    """Answers 200 to every POST; those that arrive while `gate` is clear wait for it."""

    def __init__(self, on_arrival: Callable[[Arrival], None] = lambda _: None) -> None:
        self._on_arrival = on_arrival
        self.arrivals: list[Arrival] = []
        self.answered: list[str] = []  # webhook-ids
        self.gate = asyncio.Event()
        self.gate.set()
        self.status = 200
        self._waiters = Waiters()
        self._served = AsyncExitStack()
        self.url = ""

    async def __aenter__(self) -> Self:
        """Listen."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self._receive)
        self.url = await self._served.enter_async_context(served(app))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        self.gate.set()
        await self._served.aclose()

    async def wait(self, n: int, *, timeout: float = PATIENCE) -> list[Arrival]:
        """Return what arrived, once it is `n` at least."""
        await self._waiters.wait(lambda: len(self.arrivals) >= n, timeout=timeout)
        return self.arrivals

    async def wait_for(self, holds: Callable[[Receiver], bool], *, timeout: float = PATIENCE) -> None:
        """Return when it is so; looked at after each arrival and answer."""
        await self._waiters.wait(lambda: holds(self), timeout=timeout)

    async def _receive(self, request: web.Request) -> web.Response:
        headers: dict[str, Any] = {name.lower(): value for name, value in request.headers.items()}
        arrival = Arrival(path=request.path, headers=headers, body=await request.read(), at=time.time())
        self.arrivals.append(arrival)
        self._on_arrival(arrival)
        self._waiters.changed()
        await self.gate.wait()
        self.answered.append(headers.get("webhook-id", ""))
        self._waiters.changed()
        return web.Response(status=self.status, text="ok")
