"""How a tool that serves runs as a command: enough descriptors, until a signal says stop."""

from __future__ import annotations

import asyncio
import resource
import signal


def raise_descriptor_limit() -> int:
    """Raise the soft limit on open files to the hard one; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


async def until_stopped() -> None:
    """Wait for SIGINT or SIGTERM, whose handlers are the loop's defaults again afterwards."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
