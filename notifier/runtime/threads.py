"""Runs a call beside the loop, in a thread that nobody has to wait for.

A file on a server that is gone may hold its reader for ever, and a thread cannot be ended. Those of `asyncio.to_thread`
are waited for when the process ends; these are not.
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
    """Begin a call at once; return the future of what it returns or raises. To cancel that is to wait no longer."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def tell(settle: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(lambda: None if future.done() else settle())

    def run() -> None:
        try:
            result = context.run(call)
        except Exception as exc:
            fault = exc
            tell(lambda: future.set_exception(fault))
        else:
            tell(lambda: future.set_result(result))

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
