"""Runs a blocking call in a daemon thread, beside the event loop.

A read from a lost file server may block for ever, and a thread cannot be ended. The process waits for the threads of
`asyncio.to_thread` when it ends; it does not wait for these.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def beside(call: Callable[[], T], *, name: str) -> asyncio.Future[T]:
    """Start a call; return the future of its result or exception. Cancelling the future does not end the call."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def report(settle: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for the result
            loop.call_soon_threadsafe(lambda: None if future.done() else settle())

    def run() -> None:
        try:
            result = context.run(call)
        except Exception as exc:
            fault = exc
            report(lambda: future.set_exception(fault))
        else:
            report(lambda: future.set_result(result))

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
