"""A loop pauses for a time, or until somebody asks for another turn."""

from __future__ import annotations

import asyncio

import pytest

from notifier.runtime.wake import Wake


async def test_it_ends_after_the_time() -> None:
    """Nobody sets it: the time is waited for, and not an error."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await Wake().wait(0.02)
    assert loop.time() - began >= 0.02


async def test_it_ends_as_soon_as_it_is_set() -> None:
    """However long it was to wait."""
    wake = Wake()
    waiting = asyncio.create_task(wake.wait(3600.0))
    await asyncio.sleep(0)
    wake.set()
    async with asyncio.timeout(60):
        await waiting


async def test_what_is_set_while_the_loop_is_busy_counts_once() -> None:
    """The next wait ends at once, and the one after it waits again."""
    wake = Wake()
    wake.set()
    wake.set()
    async with asyncio.timeout(60):
        await wake.wait(None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await wake.wait(None)


async def test_what_is_cleared_is_waited_for_again() -> None:
    """A turn that wakes its own loop may take that back."""
    wake = Wake()
    wake.set()
    wake.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await wake.wait(None)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_no_time_left_gives_others_a_turn(seconds: float) -> None:
    """A loop whose next look is overdue starves nobody."""
    turns: list[str] = []
    asyncio.get_running_loop().call_soon(turns.append, "other")
    await Wake().wait(seconds)
    assert turns == ["other"]


async def test_a_cancelled_wait_keeps_what_was_set() -> None:
    """To cancel the waiting loop is not its time-out: the cancellation is passed on."""
    wake = Wake()
    waiting = asyncio.create_task(wake.wait(3600.0))
    await asyncio.sleep(0)
    wake.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(60):
        await wake.wait(None)
