"""The dates of open rows follow the clock: at the start, when it is set, and on a shared store once that was heard."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import databases
import pytest
from store_rig import SECOND, follow, move, running, settled
from waits import until

from notifier.config import Config, ConfigInForce
from notifier.core.payload import timestamp
from notifier.daemon import clock_follower
from notifier.daemon.clock_follower import ClockFollower
from notifier.deliver import Dispatcher
from notifier.runtime.clock import Clock, Era, Setting
from notifier.runtime.metrics import Metrics
from notifier.store import ClockShift, Later, Store, clock_memory, redating, sqlite, writer

DAY = 86_400 * SECOND


class Looks(Dispatcher):
    """A dispatcher that counts how often it is told to look."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store=store, metrics=Metrics(), clock=clock)
        self.count = 0

    def look(self) -> None:
        super().look()
        self.count += 1

    async def wait(self, count: int) -> None:
        await until(lambda: self.count >= count)


def follower(store: Store, clock: Clock, looks: Looks, before: Sequence[Era] = ()) -> ClockFollower:
    return ClockFollower(store, clock=clock, in_force=ConfigInForce(Config()), dispatcher=looks, before=before)


@asynccontextmanager
async def followed(store: Store, clock: Clock, before: Sequence[Era] = ()) -> AsyncIterator[Looks]:
    looks = Looks(store, clock)
    task = asyncio.create_task(follower(store, clock, looks, before).run())
    try:
        yield looks
    finally:
        task.cancel()
        await asyncio.wait({task})


async def retried(store: Store, now: int, after: int) -> None:
    (watch,) = await follow(store, "1", now=now)
    _, (delivery,) = await move(store, watch, "processing", at=now)
    await store.outbox.settle(settled(delivery, Later(due=now + after, attempt=1, reason="http_500"), at=now))


async def created(store: Store, task: str = "1") -> str:
    detail = await store.lists.watch("vidu", task)
    assert detail is not None
    return detail["created_at"]


async def due(store: Store, now: int) -> int:
    return (await store.outbox.claim({"app": 1}, now=now - 1000 * DAY)).next_due["app"]


async def test_a_start_finds_what_a_clock_in_the_future_left(tmp_path: Path) -> None:
    """It was set right while nothing ran."""
    async with running(f"sqlite:///{tmp_path}/n.db") as store:
        clock = Clock()
        now = clock()
        await retried(store, now + 400 * DAY, SECOND)
        async with followed(store, clock) as looks:
            await looks.wait(1)
            assert now <= await due(store, now) <= clock()
            assert timestamp(now) <= await created(store) <= timestamp(clock())


@pytest.mark.parametrize("days", [2, -400])
async def test_a_leap_moves_open_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """A daemon that starts after it finds the age and the wait as they were."""
    async with running(f"sqlite:///{tmp_path}/n.db") as store:
        clock, real = Clock(), time.time_ns
        now = clock()
        await retried(store, now, DAY // 2)
        async with followed(store, clock) as looks:
            await looks.wait(1)
            monkeypatch.setattr(time, "time_ns", lambda: real() + days * DAY * 1000)
            await looks.wait(2)
            tolerance = SECOND // 10
            assert abs(await due(store, now) - (now + DAY // 2 + days * DAY)) < tolerance
            assert (
                timestamp(now + days * DAY - tolerance) < await created(store) < timestamp(now + days * DAY + tolerance)
            )


async def test_a_clock_that_is_set_several_times_at_once_moves_each_row_by_what_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks at dates between the settings; rows are written there all the same."""
    monkeypatch.setattr(clock_follower, "EVERY", 0.05)
    async with running(f"sqlite:///{tmp_path}/n.db") as store:
        clock, real = Clock(), time.time_ns
        before = clock.era
        days = (0, 2, -3, 0)
        for shift in days:
            monkeypatch.setattr(time, "time_ns", lambda shift=shift: real() + shift * DAY * 1000)
            now = clock()
            (watch,) = await follow(store, f"{shift} {len(clock.eras_after(before))}", now=now)
            _, (delivery,) = await move(store, watch, "processing", at=now)
            later = Later(due=now + DAY // 2, attempt=1, reason="http_500")
            await store.outbox.settle(settled(delivery, later, at=now))
        now, tolerance = clock(), 5 * SECOND
        async with followed(store, clock, [before]) as looks:
            await looks.wait(1)
            for task in ("0 0", "2 1", "-3 2", "0 3"):
                assert timestamp(now - tolerance) < await created(store, task) < timestamp(now + tolerance), task
            with closing(sqlite3.connect(tmp_path / "n.db")) as rows:
                dues = [due - now - DAY // 2 for (due,) in rows.execute("SELECT due FROM deliveries")]
            assert len(dues) == len(days)
            assert all(abs(off) < tolerance for off in dues), dues


async def test_an_outage_in_the_middle_moves_no_row_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program locks the database between two transactions, and the clock is set again meanwhile."""
    monkeypatch.setattr(clock_follower, "EVERY", 0.05)
    monkeypatch.setattr(redating, "CHUNK", 2)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 50)
    monkeypatch.setattr(writer, "RETRY_DELAY", 0.02)
    async with running(f"sqlite:///{tmp_path}/n.db") as store:
        clock, real = Clock(), time.time_ns
        now = clock()
        await follow(store, *map(str, range(5)), now=now)
        other = sqlite3.connect(tmp_path / "n.db", isolation_level=None)
        assert store.clock is not None
        move_dates, moves = store.clock.move, 0

        async def then_locked(era: Era, shift: ClockShift) -> bool:
            nonlocal moves
            if moves and not other.in_transaction and store.available:
                other.execute("BEGIN IMMEDIATE")
            moves += 1
            return await move_dates(era, shift)

        monkeypatch.setattr(store.clock, "move", then_locked)
        async with followed(store, clock) as looks:
            await looks.wait(1)
            for days in (2, 7):
                monkeypatch.setattr(time, "time_ns", lambda days=days: real() + days * DAY * 1000)
                await until(lambda: not store.available, "the database is locked")
                await asyncio.sleep(3 * clock_follower.EVERY)  # it tries again
            monkeypatch.setattr(store.clock, "move", move_dates)
            other.execute("COMMIT")
            other.close()
            await looks.wait(2)
            tolerance = SECOND // 10
            for task in map(str, range(5)):
                date = await created(store, task)
                assert timestamp(now + 7 * DAY - tolerance) < date < timestamp(now + 7 * DAY + tolerance), task


async def test_a_shared_store_waits_for_its_own_time(tmp_path: Path) -> None:
    """The machine's clock may be wrong by days, and says nothing of the rows of others."""
    with databases.database() as url:
        async with running(url) as store:
            clock = Clock()
            now = clock()
            await retried(store, now, SECOND)
            clock_of_the_machine = now - 5 * DAY  # as it would be before the database was heard
            async with followed(store, clock) as looks:
                await asyncio.sleep(0)
                assert looks.count == 0
                assert await due(store, now) == now + SECOND
                clock.correct(clock_of_the_machine, clock(), clock())
                await looks.wait(1)
                assert await due(store, now) <= clock(), "later than any schedule, by the database's time"


@pytest.mark.parametrize("days", [2, -400])
async def test_a_clock_that_was_set_while_nothing_ran_moves_open_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """The next start finds ages and waits as they were, in memory and in the rows; and moves them once."""
    real, tolerance = time.time_ns, SECOND // 2
    now, by = real() // 1000, days * DAY
    for start, shift in enumerate((0, by, by)):
        monkeypatch.setattr(time, "time_ns", lambda shift=shift: real() + shift * 1000)
        async with running(f"sqlite:///{tmp_path}/n.db") as store:
            clock = Clock()
            before = await clock_follower.recall(store, clock)
            assert len(before) == (start == 1)
            if start == 0:
                await retried(store, now, DAY // 2)
            if before:
                assert clock.elapsed(now, clock()) < 60 * SECOND
            async with followed(store, clock, before) as looks:
                await looks.wait(1)
                assert abs(await due(store, now) - (now + DAY // 2 + shift)) < tolerance
                assert timestamp(now + shift - tolerance) < await created(store) < timestamp(now + shift + tolerance)


async def test_nothing_is_known_of_another_run_of_the_machine(tmp_path: Path) -> None:
    """Neither is it after one of whose run the system tells nothing."""
    async with running(f"sqlite:///{tmp_path}/n.db") as store:
        clock = Clock()
        assert store.clock is not None
        for boot in (clock.setting.boot ^ 1, 0):
            await store.clock.keep(Setting(boot=boot, offset=clock.setting.offset - DAY))
            assert await clock_follower.recall(store, clock) == ()


@pytest.mark.parametrize("days", [(3,), (-400, 2, 2), (3, -5)])
async def test_an_end_in_the_middle_moves_no_row_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: tuple[int, ...]
) -> None:
    """Each start goes on behind the last transaction, though nobody heard of it; also where the clock was set again."""
    monkeypatch.setattr(redating, "CHUNK", 2)
    real, tolerance = time.time_ns, SECOND
    now = real() // 1000
    async with running(f"sqlite:///{tmp_path}/n.db") as store:
        clock = Clock()
        await follower(store, clock, Looks(store, clock)).look()
        for watch in await follow(store, *map(str, range(5)), now=now):
            _, (delivery,) = await move(store, watch, "processing", at=now)
            later = Later(due=now + DAY // 2, attempt=1, reason="http_500")
            await store.outbox.settle(settled(delivery, later, at=now))
    for number in range(20):
        shift = days[min(number, len(days) - 1)] * DAY
        monkeypatch.setattr(time, "time_ns", lambda shift=shift: real() + shift * 1000)
        async with running(f"sqlite:///{tmp_path}/n.db") as store:
            clock = Clock()
            work = follower(store, clock, Looks(store, clock), await clock_follower.recall(store, clock))
            assert store.clock is not None
            monkeypatch.setattr(store.clock, "move", ended_after(store.clock.move))
            try:
                await work.finish()
                break
            except asyncio.CancelledError:
                assert number < 19
    with closing(sqlite3.connect(tmp_path / "n.db")) as rows:
        for wait, query in ((0, "SELECT created_at FROM watches"), (DAY // 2, "SELECT due FROM deliveries")):
            dates = [date - wait - now - days[-1] * DAY for (date,) in rows.execute(query)]
            assert len(dates) == 5
            assert all(abs(off) < tolerance for off in dates), dates
        names = {name for (name,) in rows.execute("SELECT name FROM counters WHERE name LIKE 'clock %'")}
    assert names == {clock_memory.BOOT, clock_memory.OFFSET}


def ended_after(move: Callable[[Era, ClockShift], Awaitable[bool]]) -> Callable[[Era, ClockShift], Awaitable[bool]]:
    """Return the method of a process that ends when a transaction of it is committed, and before it hears of that."""

    async def then_end(era: Era, shift: ClockShift) -> bool:
        if await move(era, shift):
            raise asyncio.CancelledError
        return False

    return then_end
