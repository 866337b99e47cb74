"""An event loop in virtual time: one step at a time, in an order and with delays that a seed draws.

Nothing waits. Where nothing is ready, the time jumps to whatever is due next: a timer of the loop, or an entry of the
agenda, which belongs to the world around the daemon and outlives the loop. A real loop runs in turns: it collects what
has arrived and the timers that are due, and makes these calls, and those that they ask for, in the order of asking. So
does this one; the seed mixes only what a real loop leaves open.

Calls for threads are made inline, in steps of their own: the call takes place after a drawn time, and its result is
heard of after another, so that a crash can fall between a COMMIT and its news.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from contextvars import Context
from random import Random
from typing import Any

EPOCH = 1_767_225_600_000_000  # microseconds: 2026-01-01, when every run begins
BOOTED = 1000.0  # seconds for which the machine has been up by then
LONGEST_STEP = 40e-6  # seconds that a step of the loop takes
LONGEST_CALL = 0.004  # seconds that a call in a thread takes to begin, and its result to arrive
HICCUP = 0.002  # the share of calls in threads that take up to a second


class Crash(BaseException):
    """The process dies here: no handler of the daemon may see it."""


class Stuck(AssertionError):
    """Nothing is ready, and nothing will ever be."""


class Agenda:
    """The time of a run, both clocks that show it, and what happens outside of the daemon."""

    def __init__(self) -> None:
        self.now = BOOTED  # seconds of the clock that nobody sets
        self.offset = EPOCH - round(BOOTED * 1e6)  # microseconds from that clock to dates
        self.set_until = 0.0  # the clock was set; until then the daemon may not have moved its dates with it
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()

    @property
    def uptime(self) -> int:
        """Return the microseconds since the machine was started."""
        return round(self.now * 1e6)

    @property
    def date(self) -> int:
        """Return the date that the machine's clock shows, in microseconds."""
        return self.uptime + self.offset

    @property
    def next(self) -> float:
        """Return when the next entry is due."""
        return self._entries[0][0] if self._entries else float("inf")

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Enter a call."""
        heapq.heappush(self._entries, (max(when, self.now), next(self._serial), call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Enter a call that is due in so many seconds."""
        self.at(self.now + seconds, call)

    def take(self) -> Callable[[], None] | None:
        """Remove the next entry, if it is due."""
        return heapq.heappop(self._entries)[2] if self.next <= self.now else None

    def pass_time(self, until: float) -> None:
        """Let time pass while no daemon runs."""
        while self.next <= until:
            self.now = max(self.now, self.next)
            call = self.take()
            assert call is not None
            call()
        self.now = max(self.now, until)


class _Serial:
    """Has sets of tasks and futures iterate in the same order in every run: hashes by address would not."""

    serial: int

    def __hash__(self) -> int:
        return self.serial


class _Future(_Serial, asyncio.Future[Any]):
    def __init__(self, loop: VirtualLoop) -> None:
        self.serial = next(loop.serials)
        super().__init__(loop=loop)


class _Task(_Serial, asyncio.Task[Any]):
    def __init__(self, coro: Any, *, loop: VirtualLoop, **more: Any) -> None:
        self.serial = next(loop.serials)
        super().__init__(coro, loop=loop, **more)


class VirtualLoop(asyncio.BaseEventLoop):
    """One process's loop. It ends by a crash after `crash_at` steps, or when it is stopped."""

    def __init__(self, agenda: Agenda, rng: Random, note: Callable[[str], None]) -> None:
        super().__init__()
        self.agenda = agenda
        self.serials = itertools.count(1)
        self.steps = 0
        self.crash_at: int | None = None
        self.faults: list[str] = []  # exceptions that nobody handled
        self.dial: Callable[[Any], Any] | None = None  # makes a transport of a dialled socket
        self._rng = rng
        self._note = note
        self._turn = 0  # handles left of the present turn
        self._busy: dict[object, float] = {}  # until when an executor's only thread is
        self.set_task_factory(lambda _, coro, **more: _Task(coro, loop=self, **more))
        self.set_exception_handler(lambda _, context: self.faults.append(_describe(context)))

    # -- what a loop offers

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self.agenda.now

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future whose hash is the same in every run."""
        return _Future(self)

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call soon: there are no other threads."""
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Make the call in steps of its own."""
        return self.call_in_thread(executor, lambda: func(*args))

    def add_signal_handler(self, *_: Any) -> None:  # type: ignore[override]
        """Take no signals: the operators of the world stop the daemon."""

    async def create_connection(self, factory: Any, *args: Any, sock: Any = None, **more: Any) -> Any:  # type: ignore[override]
        """Make a transport of what was dialled."""
        assert self.dial is not None
        assert more.get("ssl") is None, "the simulated places speak no TLS"
        protocol = factory()
        transport = self.dial(sock)
        await transport.begin(protocol)
        return transport, protocol

    # -- calls in threads

    def call_in_thread(self, thread: object, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """Make a call after those that the thread, if there is only one, has to make before."""
        future: asyncio.Future[Any] = self.create_future()
        begins = max(self.time(), self._busy.get(thread, 0.0)) + self._delay()
        told = begins + self._delay()
        if thread is not None:
            self._busy[thread] = begins

        def work() -> None:
            result, fault = None, None
            try:
                result = call()
            except Exception as exc:
                fault = exc
            self.call_at(max(told, self.time()), _settle, future, result, fault)

        self.call_at(begins, work)
        return future

    def _delay(self) -> float:
        longest = 1.0 if self._rng.random() < HICCUP else LONGEST_CALL
        return self._rng.random() * longest

    # -- steps

    def _run_once(self) -> None:
        """Make one step, which takes a drawn time."""
        ready: Any = self._ready  # type: ignore[attr-defined]
        if self._turn <= 0 or not ready:
            self._collect(ready)
        self._turn -= 1
        handle = ready.popleft()
        if handle._cancelled:
            return
        self.steps += 1
        if self.crash_at is not None and self.steps >= self.crash_at and self.agenda.now >= self.agenda.set_until:
            ready.appendleft(handle)  # for those who clear away what is left
            raise Crash
        self._note(f"{self.agenda.now:.6f} {_name(handle)}\n")
        handle._run()
        self.agenda.now += self._rng.random() * LONGEST_STEP

    def _collect(self, ready: Any) -> None:
        """Begin a turn: add what has arrived and the timers that are due, each in order, but mixed in any way."""
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            self._drop(timers)
        if not ready:
            due = min(timers[0].when() if timers else float("inf"), self.agenda.next)
            if due == float("inf"):
                raise Stuck
            self.agenda.now = max(self.agenda.now, due)
        while True:
            arrived, rings = self.agenda.next <= self.agenda.now, bool(timers) and timers[0].when() <= self.agenda.now
            if arrived and (not rings or self._rng.random() < 0.5):
                call = self.agenda.take()
                assert call is not None
                ready.append(asyncio.Handle(call, (), self))
            elif rings:
                ready.append(self._drop(timers))
            else:
                break
        self._turn = len(ready)

    def _drop(self, timers: list[asyncio.TimerHandle]) -> asyncio.TimerHandle:
        timer = heapq.heappop(timers)
        timer._scheduled = False  # type: ignore[attr-defined]
        if timer._cancelled:
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
        return timer

    def _write_to_self(self) -> None:
        """Wake nothing: no thread waits."""


class InlineThread:
    """Stands for `runtime.threads.OneThread`."""

    def __init__(self, *, name: str) -> None:
        self._name = name

    def call(self, call: Callable[[Any], Any], argument: Any) -> asyncio.Future[Any]:
        """Make a call in steps of its own."""
        return _running().call_in_thread(self, lambda: call(argument))

    def end(self, last: Callable[[], None]) -> None:
        """Make the last call at once."""
        last()


def beside(call: Callable[[], Any], *, name: str) -> asyncio.Future[Any]:
    """Stand for `runtime.threads.beside`."""
    return _running().call_in_thread(None, call)


def _running() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def _settle(future: asyncio.Future[Any], result: Any, fault: Exception | None) -> None:
    if future.done():  # it was cancelled
        return
    if fault is None:
        future.set_result(result)
    else:
        future.set_exception(fault)


def _name(handle: asyncio.Handle) -> str:
    """Return what a step does, by a name that is the same in every run."""
    callback: Any = handle._callback  # type: ignore[attr-defined]
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        name = owner.get_name()
        return getattr(owner.get_coro(), "__qualname__", "task") if name.startswith("Task-") else name
    return getattr(callback, "__qualname__", None) or type(callback).__name__


def _describe(context: dict[str, Any]) -> str:
    fault = context.get("exception")
    return f"{context.get('message')}: {fault!r}"
