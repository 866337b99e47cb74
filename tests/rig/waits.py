"""Waits with an end, for conditions that nothing announces. Where there is an event, a test awaits that."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from inspect import isawaitable

# Seconds for anything that has to happen at all, on a machine that is slow or busy: only a failing test waits so long.
PATIENCE = 180.0


def slowness() -> float:
    """Return how many times longer than alone on this machine a process may take now: 1 where nothing else runs."""
    return 1.0 + os.getloadavg()[0] / (os.cpu_count() or 1)


async def until(
    holds: Callable[[], bool | Awaitable[bool]], what: str = "the condition", *, timeout: float = PATIENCE
) -> None:
    """Return once `holds()`, or its awaited result, is true. Raises AssertionError after `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            while not await _result(holds()):  # noqa: ASYNC110  # there is no event: that is what this is for
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never came to be: {what}") from None


async def _result(answer: bool | Awaitable[bool]) -> bool:
    return await answer if isawaitable(answer) else answer
