"""Waits with an end, for conditions that nothing announces. Where there is an event, a test awaits that."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import TypeVar

T = TypeVar("T")

# Seconds for anything that has to happen at all, on a machine that is slow or busy: only a failing test waits so long.
PATIENCE = 180.0
# Seconds of a time-out that one thing is meant to reach and what goes on beside it is not: it stands still for less.
NOTICED = 3.0


def slowness() -> float:
    """Return how many times longer than alone on this machine a process may take now: 1 where nothing else runs."""
    return 1.0 + os.getloadavg()[0] / (os.cpu_count() or 1)


@asynccontextmanager
async def measured_lag(tell: Callable[[float], None] = lambda _: None) -> AsyncIterator[Callable[[], float]]:
    """Measure how late the loop is; yield a function that returns the longest lag in seconds. `tell` hears of each.

    What is recorded within this process may be off by as much, whatever the tested part does.
    """
    loop, longest = asyncio.get_running_loop(), 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            due = loop.time() + 0.005
            await asyncio.sleep(0.005)
            lag = loop.time() - due
            longest = max(longest, lag)
            tell(lag)

    ticking = asyncio.create_task(tick(), name="measure the loop's lag")
    try:
        yield lambda: longest
    finally:
        ticking.cancel()
        await asyncio.wait({ticking})


async def undisturbed(attempt: Callable[[], Awaitable[T]], *, lag: float) -> T:
    """Repeat an attempt until the loop was never later than `lag` seconds during it; return its result.

    It is for tests of a pace: a process that stands still sends late, and its next request follows sooner.
    """
    async with asyncio.timeout(PATIENCE):
        while True:
            async with measured_lag() as longest:
                result = await attempt()
                if longest() <= lag:
                    return result


async def until(
    holds: Callable[[], bool | Awaitable[bool]],
    what: str | Callable[[], str] = "the condition",
    *,
    timeout: float = PATIENCE,
) -> None:
    """Return once `holds()`, or its awaited result, is true. Raises AssertionError after `timeout` seconds.

    A `what` that is called tells what is still missing by then.
    """
    try:
        async with asyncio.timeout(timeout):
            while not await _result(holds()):  # noqa: ASYNC110  # there is no event: that is what this is for
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never came to be: {what if isinstance(what, str) else what()}") from None


async def _result(answer: bool | Awaitable[bool]) -> bool:
    return await answer if isawaitable(answer) else answer


@asynccontextmanager
async def longest_turn(cpu: Callable[[], float] = time.process_time) -> AsyncIterator[Callable[[], float]]:
    """Yield a function that returns the longest time for which nothing else could run on the loop, in seconds of `cpu`.

    Other processes do not lengthen it, nor does the collection of garbage, which takes long in a process full of tests.
    """
    longest, last = 0.0, cpu()

    async def tick() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0.001)
            now = cpu()
            longest, last = max(longest, now - last), now

    task = asyncio.create_task(tick())
    gc.disable()
    try:
        yield lambda: longest
    finally:
        gc.enable()
        task.cancel()
        await asyncio.wait({task})
