"""Waiting for a condition of a tool that runs in the same loop, so that tests need no sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE = 180.0  # seconds until a wait gives up where its caller names no end: much, since the machine may be busy


class Waiters:
    """Those who wait until something is so; whoever changes something says `changed`."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def changed(self) -> None:
        """Wake those whose condition holds now."""
        for holds, future in self._waiting:
            if not future.done() and holds():
                future.set_result(None)

    async def wait(self, holds: Callable[[], bool], *, timeout: float | None) -> None:
        """Return as soon as `holds()`; `timeout` is in seconds. Raises TimeoutError."""
        if holds():
            return
        entry = (holds, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(timeout):
                await entry[1]
        finally:
            self._waiting.remove(entry)
