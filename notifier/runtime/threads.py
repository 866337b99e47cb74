"""Runs blocking calls in threads, beside the event loop: one call in a thread of its own, or all of one thread.

A read from a lost file server may block for ever, and a thread cannot be ended. The process waits for the threads of
`asyncio.to_thread` when it ends; it does not wait for these. The system may refuse a thread, as at a cgroup's limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, ClassVar, TypeVar

T = TypeVar("T")
A = TypeVar("A")
# Seconds for which a thread waits for the interpreter before it asks for it. Python's usual 5 ms are never over beside
# a loop that always has something to do: it gives the interpreter up for a moment in each round, of some 70 us, and the
# wait begins anew. The store's thread needs the interpreter for every statement, and its commits took seconds. Where
# the loop does rest, a short interval costs a sixth of the CPU: it is for calls that take STARVING seconds.
USUAL_INTERVAL, SHORT_INTERVAL = sys.getswitchinterval(), 50e-6
STARVING = 0.05
AGAIN = 1.0  # seconds after which a thread that the system refused is asked for again
_running: set[threading.Thread] = set()  # threads whose call has not ended


class NoThread(OSError):
    """The system refuses another thread; the call was not begun."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, "the system has no thread for it")


class _Starvation:
    """Notes whether a call starves. While any does, threads get the interpreter soon."""

    calls: ClassVar[int] = 0  # that starve now

    def __init__(self, call: asyncio.Future[Any]) -> None:
        self._alarm = call.get_loop().call_later(STARVING, self._begin)
        self._begun = False
        call.add_done_callback(self._end)

    def _begin(self) -> None:
        self._begun = True
        _Starvation.calls += 1
        sys.setswitchinterval(SHORT_INTERVAL)

    def _end(self, _call: asyncio.Future[Any]) -> None:
        self._alarm.cancel()
        if self._begun:
            _Starvation.calls -= 1
            if not _Starvation.calls:
                sys.setswitchinterval(USUAL_INTERVAL)


def unstarved(call: asyncio.Future[T]) -> asyncio.Future[T]:
    """Let a thread have the interpreter soon if its call takes long, however busy the loop is; return the call."""
    _Starvation(call)
    return call


def beside(call: Callable[[], T], *, name: str) -> asyncio.Future[T]:
    """Start a call; return the future of its result or exception, which may be NoThread.

    Cancelling the future does not end the call.
    """
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
    try:
        thread.start()
    except RuntimeError:
        _running.discard(thread)
        report(lambda: future.set_exception(NoThread()))  # in the loop's next round, as any other result
    return future


def surely(call: Callable[[], T], *, name: str) -> asyncio.Future[T]:
    """Start a call that must not be left out, as soon as the system has a thread; return the future of its end.

    Cancelling the future neither ends the call nor keeps it from being started.
    """
    loop = asyncio.get_running_loop()
    made: asyncio.Future[T] = loop.create_future()

    def begin() -> None:
        beside(call, name=name).add_done_callback(ended)

    def ended(done: asyncio.Future[T]) -> None:
        if isinstance(fault := done.exception(), NoThread):
            loop.call_later(AGAIN, begin)
        else:
            _report(made, None if fault is not None else done.result(), fault)

    begin()
    return made


class OneThread:
    """A thread that makes one call after another, for a fifth of what a call by an executor costs."""

    def __init__(self, *, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[[Any], Any], Any, asyncio.Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._last: Callable[[], None] = lambda: None
        self._fault: Exception | None = None  # of the last call
        self._thread.start()

    def call(self, call: Callable[[A], T], argument: A) -> asyncio.Future[T]:
        """Make a call; return the future of its result or exception. Cancelling the future does not end the call."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((call, argument, future))
        return unstarved(future)

    def end(self, last: Callable[[], None]) -> None:
        """Make a last call, after all others, and end the thread. Blocks. Raises what the call raises."""
        self._last = last
        self._calls.put(None)
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        while (given := self._calls.get()) is not None:
            call, argument, future = given
            result, fault = None, None
            try:
                result = call(argument)
            except Exception as exc:
                fault = exc
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for the result
                future.get_loop().call_soon_threadsafe(_report, future, result, fault)
            del given, call, argument, future, result, fault  # they may be large, and the next call may come late
        try:
            self._last()
        except Exception as exc:
            self._fault = exc


def _report(future: asyncio.Future[Any], result: Any, fault: BaseException | None) -> None:
    if future.done():  # it was cancelled
        return
    if fault is None:
        future.set_result(result)
    else:
        future.set_exception(fault)


def settle(seconds: float) -> None:
    """Return once every call has ended, or after `seconds`. Blocks; for the end of the process.

    While the interpreter ends, it unwinds a thread that wakes. In a call of pydantic, which is written in Rust, that
    aborts the process, and its exit code is lost. A thread that stays blocked is not unwound.
    """
    end = time.monotonic() + seconds
    for thread in tuple(_running):
        thread.join(max(0.0, end - time.monotonic()))
