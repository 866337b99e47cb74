"""A call beside the loop returns, raises, and holds nobody up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest
from waits import PATIENCE

from notifier.runtime.threads import beside, settle


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
