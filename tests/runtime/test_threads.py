"""A call beside the loop returns, raises, and holds nobody up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest
from refused_threads import no_thread
from waits import PATIENCE, until

from notifier.runtime import threads
from notifier.runtime.threads import NoThread, OneThread, beside, settle, surely, unstarved


async def test_results_and_faults_come_back() -> None:
    """What the call returns is awaited; what it raises too."""
    assert await beside(lambda: 6 * 7, name="count") == 42
    with pytest.raises(ZeroDivisionError):
        await beside(lambda: 1 // 0, name="fail")


async def test_nobody_has_to_wait() -> None:
    """A call whose result nobody wants any more ends without a word."""
    future = beside(lambda: 1 // 0, name="fail")
    future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    assert await beside(lambda: 1, name="next") == 1


def test_a_process_ends_without_it() -> None:
    """A call that never ends does not keep the process."""
    program = """
import asyncio, threading
from notifier.runtime.threads import beside
async def main():
    beside(threading.Event().wait, name="for ever")
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


async def test_one_thread_makes_one_call_after_another() -> None:
    """In the order in which they were asked for; results and faults come back, to those who still want them."""
    made: list[int] = []
    thread = OneThread(name="one")
    gate = threading.Event()
    gone = thread.call(gate.wait, None)
    calls = [thread.call(made.append, number) for number in range(5)]
    fault = thread.call(lambda by: 1 // by, 0)
    gone.cancel()
    gate.set()
    assert await asyncio.gather(*calls) == [None] * 5
    assert made == list(range(5))
    with pytest.raises(ZeroDivisionError):
        await fault
    await asyncio.to_thread(thread.end, lambda: made.append(threading.get_ident()))
    assert made[-1] != threading.get_ident(), "the last call was made in the thread too"


async def test_a_call_that_takes_long_gets_the_interpreter_soon() -> None:
    """Until the last of them is over, or nobody waits for it; a short one leaves everything as it was."""
    usual = sys.getswitchinterval()
    thread, gate = OneThread(name="one"), threading.Event()
    await thread.call(lambda _: None, None)
    assert sys.getswitchinterval() == usual
    slow, other = thread.call(gate.wait, None), unstarved(asyncio.get_running_loop().create_future())
    await until(lambda: sys.getswitchinterval() < usual / 10)
    other.cancel()
    await asyncio.wait({other})
    assert sys.getswitchinterval() < usual / 10
    gate.set()
    await slow
    await until(lambda: sys.getswitchinterval() == usual)
    await asyncio.to_thread(thread.end, lambda: None)


def test_one_thread_tells_the_fault_of_its_last_call() -> None:
    """It has ended all the same."""
    thread = OneThread(name="one")
    with pytest.raises(ZeroDivisionError):
        thread.end(lambda: print(1 // 0))
    assert "one" not in [each.name for each in threading.enumerate()]


def test_one_thread_outlives_the_loop_that_asked() -> None:
    """Nobody waits for the result any more."""
    thread = OneThread(name="one")
    gate = threading.Event()

    async def ask() -> None:
        thread.call(gate.wait, PATIENCE)

    asyncio.run(ask())
    gate.set()
    thread.end(lambda: None)


async def test_the_end_waits_for_calls_that_run_but_not_for_ever() -> None:
    """At the end of the process a call that is under way ends first; one that is blocked is left alone."""
    gate = threading.Event()
    blocked = beside(gate.wait, name="blocked")
    settle(0.05)
    assert not blocked.done()
    threading.Timer(0.1, gate.set).start()
    began = time.monotonic()
    settle(PATIENCE)
    assert gate.is_set()
    assert time.monotonic() - began < PATIENCE
    assert await blocked is True


async def test_a_thread_that_the_system_refuses_is_a_fault_of_the_call() -> None:
    """An OSError, as callers know them, in the future; nothing is counted as running."""
    made: list[int] = []
    with no_thread():
        refused = beside(lambda: made.append(1), name="refused")
        with pytest.raises(NoThread):
            await refused
    settle(0.0)
    assert made == []


async def test_a_call_that_must_be_made_waits_for_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made once there is one, though nobody waits for it any more; its faults come back."""
    monkeypatch.setattr(threads, "AGAIN", 0.01)
    asked: list[str] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        asked.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    made = threading.Event()
    with no_thread():
        call, forgotten = surely(lambda: 6 * 7, name="call"), surely(made.set, name="forgotten")
        forgotten.cancel()
        await until(lambda: min(asked.count("call"), asked.count("forgotten")) > 2, "a thread is asked for again")
        assert (call.done(), made.is_set()) == (False, False)
    assert await call == 42
    await until(made.is_set, "the other call is made too")
    with pytest.raises(ZeroDivisionError):
        await surely(lambda: 1 // 0, name="fail")
