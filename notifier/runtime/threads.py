"""Runs a blocking call in a daemon thread, beside the event loop.

A read from a lost file server may block for ever, and a thread cannot be ended. The process waits for the threads of
`asyncio.to_thread` when it ends; it does not wait for these.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_running: set[threading.Thread] = set()  # threads whose call has not ended


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
        finally:
            _running.discard(threading.current_thread())

    thread = threading.Thread(target=run, name=name, daemon=True)
    _running.add(thread)
    thread.start()
    return future


def settle(seconds: float) -> None:
    """Return once every call has ended, or after `seconds`. Blocks; for the end of the process.

    While the interpreter ends, it unwinds a thread that wakes. In a call of pydantic, which is written in Rust, that
    aborts the process, and its exit code is lost. A thread that stays blocked is not unwound.
    """
    end = time.monotonic() + seconds
    for thread in tuple(_running):
        thread.join(max(0.0, end - time.monotonic()))
