"""A receiver on a real socket that refuses a share of its requests, at random from a seed."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web
from served import served
from waits import PATIENCE


@dataclass(slots=True)
class FlakyReceiver:
    """Refuses a share of all attempts; `accepted` lists the watch and sequence of each message."""

    share: float
    answers: Sequence[int | None] = (503,)  # statuses; None: no answer before the endpoint's time-out
    seconds: float = 0.0  # until it accepts
    places: int | None = None  # attempts that it accepts at a time
    seed: int = 1
    url: str = ""
    requests: int = 0
    busy: int = 0
    most: int = 0  # requests at a time
    under_way: int = 0
    accepted: list[tuple[str, int]] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _served: AsyncExitStack = field(default_factory=AsyncExitStack)
    _rng: random.Random = field(default_factory=random.Random)

    async def __aenter__(self) -> Self:
        """Listen."""
        self._rng.seed(self.seed)
        app = web.Application()
        app.router.add_post("/", self._receive)
        self.url = f"{await self._served.enter_async_context(served(app, handler_cancellation=True))}/"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        await self._served.aclose()

    async def wait(self, count: int) -> None:
        """Return once so many messages were accepted."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: len(self.accepted) >= count)

    def disorder(self) -> dict[str, list[int]]:
        """Return the sequences of each watch whose messages were not accepted in order, every one of them once.

        A receiver that lets attempts run out may be sent again what it accepted: the answer to it may come late, too.
        """
        sequences: dict[str, list[int]] = {}
        for watch, sequence in dict.fromkeys(self.accepted) if None in self.answers else self.accepted:
            sequences.setdefault(watch, []).append(sequence)
        return {watch: each for watch, each in sequences.items() if each != list(range(1, len(each) + 1))}

    async def _receive(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await self._answer(json.loads(await request.read())["data"])
        finally:
            self.under_way -= 1

    async def _answer(self, data: dict[str, object]) -> web.Response:
        if self._rng.random() < self.share or (self.places is not None and self.busy >= self.places):
            answer = self._rng.choice(self.answers)
            if answer is None:
                await asyncio.Event().wait()  # until the sender hangs up
            return web.Response(status=answer or 504)
        self.busy += 1
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.busy -= 1
        watch, sequence = data["watch"], data["sequence"]
        assert isinstance(watch, dict)
        assert isinstance(sequence, int)
        self.accepted.append((watch["id"], sequence))
        async with self._changed:
            self._changed.notify_all()
        return web.Response()
