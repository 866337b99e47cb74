"""Turns on the loop: requests begin one after another, and everything else that is due comes between two of them.

Many clients may send hundreds of requests at once, each on its connection. Their answers would follow each other
without a pause, and streams, deliveries and probes would wait for all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Gives one turn in each round of the loop, in the order in which they are asked for."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._given = False  # in this round

    async def wait(self) -> None:
        """Return when it is the caller's turn: at once, if this round's is left."""
        loop = asyncio.get_running_loop()
        if self._given:
            turn = loop.create_future()
            self._waiting.append(turn)
            await turn
            return
        self._given = True
        loop.call_soon(self._next)

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # it was not cancelled
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._given = False
