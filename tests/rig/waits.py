"""Waiting for what nobody announces: a row, a socket, another process. Where there is an event, a test awaits that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable

PATIENCE = 60.0  # seconds: generous, for a machine that is slow or busy; only a test that fails waits for so long


async def until(
    holds: Callable[[], bool | Awaitable[bool]], what: str = "what is waited for", *, timeout: float = PATIENCE
) -> None:
    """Return once `holds()`, or what it awaits, is true. Raises AssertionError after `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            while not await _answer(holds()):  # noqa: ASYNC110  # there is no event: that is what this is for
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never came to be: {what}") from None


async def _answer(given: bool | Awaitable[bool]) -> bool:
    return await given if isawaitable(given) else given
