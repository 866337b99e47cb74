"""A loop's pause: it ends after a time, or as soon as anybody asks for another turn."""

from __future__ import annotations

import asyncio
import contextlib


class Wake:
    """Wakes one waiting loop. A call of `set` while the loop is busy ends its next wait at once."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """End the wait, or the next one if nobody waits."""
        self._event.set()

    def clear(self) -> None:
        """Forget what was set since the last wait."""
        self._event.clear()

    async def wait(self, seconds: float | None = None) -> None:
        """Return once it is set, or after `seconds`; None waits without end, 0 or less gives others one turn."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
