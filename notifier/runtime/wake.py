"""A loop's pause: it ends after a time, or as soon as anybody asks for another turn."""

from __future__ import annotations

import asyncio
import math

TICKS = 1000  # a second: uvloop rounds timers to these, and one that is early is waited for again and again


class Wake:
    """Wakes one waiting loop. A call of `set` while the loop is busy ends its next wait at once."""

    __slots__ = ("_set", "_waiter")

    def __init__(self) -> None:
        self._set = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_set(self) -> bool:
        """Return whether the next wait ends at once."""
        return self._set

    def set(self) -> None:
        """End the wait, or the next one if nobody waits."""
        self._set = True
        if self._waiter is not None:
            _release(self._waiter)

    def clear(self) -> None:
        """Forget what was set since the last wait."""
        self._set = False

    async def wait(self, seconds: float | None = None) -> None:
        """Return once it is set, or after `seconds`; None waits without end, 0 or less gives others one turn."""
        if not self._set:
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            ticks = None if seconds is None else math.ceil(max(0.0, seconds) * TICKS)
            timer = None if ticks is None else loop.call_later(ticks / TICKS, _release, waiter)
            try:
                await waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        self._set = False


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
