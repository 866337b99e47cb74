"""How a tool waits: for a condition in its own loop, so that tests need no sleeps, or for a signal to stop."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Callable

PATIENCE = 180.0  # seconds until a wait gives up where its caller names no end: much, since the machine may be busy


class Waiters:
    """Waits for conditions. Every change has to call `changed`."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def changed(self) -> None:
        """End each wait whose condition holds now."""
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


def raise_descriptor_limit() -> int:
    """Raise the soft limit on open files to the hard one; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


async def until_stopped() -> None:
    """Wait for SIGINT or SIGTERM; afterwards the loop's default handlers are back."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
