"""Tasks that end with their group, and an alarm that rings once."""

from __future__ import annotations

import asyncio

import pytest

from notifier.deliver.tasks import Alarm, Tasks


async def test_tasks_start_while_the_group_is_open_and_end_with_it() -> None:
    """Before and after, nothing is started, and no coroutine is left unawaited."""
    tasks, ran = Tasks(), asyncio.Event()

    async def work() -> None:
        ran.set()
        await asyncio.Event().wait()

    assert not tasks.start("early", work())

    async def live() -> None:
        async with tasks.open():
            assert tasks.start("work", work())
            await asyncio.Event().wait()

    living = asyncio.create_task(live(), name="live")
    await ran.wait()
    living.cancel()
    await asyncio.wait({living})
    assert living.cancelled()
    assert "work" not in {task.get_name() for task in asyncio.all_tasks()}
    assert not tasks.start("late", work())


async def test_a_task_that_fails_ends_the_group() -> None:
    """Work that others begin while they are being cancelled is not started, because nobody could wait for it."""
    tasks, refused = Tasks(), []

    async def sleeper() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            refused.append(tasks.start("afterwards", failing()))

    async def failing() -> None:
        raise ValueError("a fault")

    async def live() -> None:
        async with tasks.open():
            tasks.start("sleeper", sleeper())
            await asyncio.sleep(0)
            tasks.start("failing", failing())
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup, match="TaskGroup"):
        await live()
    assert refused == [False]


async def test_an_alarm_rings_at_the_earliest_time_and_once() -> None:
    """A later time does not move it. After it rang it can be set again."""
    rang = asyncio.Event()
    count = 0

    def ring() -> None:
        nonlocal count
        count += 1
        rang.set()

    alarm = Alarm(ring)
    alarm.set(3600.0)
    alarm.set(0.01)
    alarm.set(1800.0)
    await asyncio.wait_for(rang.wait(), 30)
    rang.clear()
    alarm.set(0.0)
    await asyncio.wait_for(rang.wait(), 30)
    alarm.set(0.01)
    alarm.cancel()
    later = Alarm(rang.set)
    rang.clear()
    later.set(0.05)
    await asyncio.wait_for(rang.wait(), 30)
    assert count == 2
