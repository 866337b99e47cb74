"""Writers share transactions; each gets its own result, and only its own fault."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop
from statements import each_connection
from waits import PATIENCE, until

from notifier.core.errors import StoreUnavailable
from notifier.store import sqlite
from notifier.store.connection import Connection
from notifier.store.node import Solo
from notifier.store.operations import CallOp
from notifier.store.outbox import LINGER
from notifier.store.transaction import Transaction
from notifier.store.writer import ENOUGH, MAX_GROUP, Writer

LONG_WAIT = 10 * PATIENCE  # seconds; a test that waited so long would fail


class Words:
    """A group commit over a database with one table of texts."""

    def __init__(self, path: Path) -> None:
        self.groups: list[float] = []  # seconds of each
        self.began = 0  # transactions
        self._engine = sqlite.SqliteEngine(path, writable=True)
        with self._engine.begin() as connection:
            connection.execute("CREATE TABLE said (word TEXT UNIQUE)")
            connection.execute("CREATE TABLE counters (name TEXT, value INTEGER)")  # written to probe it
        start = self._engine.start

        def started(raw: sqlite3.Connection) -> None:
            self.began += 1
            start(raw)

        self._engine.start = started  # type: ignore[method-assign]
        self.commit = Writer(self._engine, Transaction(Solo(1)))

    async def say(self, word: str, *, within: float = 0.0, hold: bool = False) -> object:
        """Write a word; return how many there are then."""
        return await self.commit.submit(CallOp(saying(word), hold), within=within)

    async def call(self, call: Callable[[Connection], object], *, hold: bool = False) -> object:
        """Call a function in a transaction; return its result."""
        return await self.commit.submit(CallOp(call, hold))

    def said(self) -> list[str]:
        """Return the committed words, in order."""
        with self._engine.connect() as connection:
            return [str(word) for word in connection.execute("SELECT word FROM said ORDER BY rowid").scalars()]


def saying(word: str) -> Callable[[Connection], object]:
    def call(connection: Connection) -> object:
        connection.execute("INSERT INTO said VALUES (:word)", {"word": word})
        return connection.execute("SELECT count(*) FROM said").scalar()

    return call


@pytest.fixture
async def writer(path: Path) -> AsyncIterator[Words]:
    sqlite3.connect(path).close()
    made = Words(path)
    running = asyncio.create_task(made.commit.run(seconds=made.groups.append), name="store")
    yield made
    made.commit.close()
    await running
    made.commit.shutdown()


async def test_writers_that_come_together_share_a_transaction(writer: Words) -> None:
    """Durability costs one wait for the disk, not one each; results go to those who asked, in their order."""
    counts = await asyncio.gather(*(writer.say(f"w{n}") for n in range(100)))
    assert counts == list(range(1, 101))
    assert writer.began == len(writer.groups) == 1
    assert writer.said() == [f"w{n}" for n in range(100)]


async def test_a_group_is_bounded(writer: Words) -> None:
    """More than fit one transaction take several, in the order in which they came."""
    await asyncio.gather(*(writer.say(f"w{n}") for n in range(2 * MAX_GROUP + 1)))
    assert len(writer.groups) == 3
    assert writer.said() == [f"w{n}" for n in range(2 * MAX_GROUP + 1)]


async def test_a_writer_in_no_hurry_waits_for_company(writer: Words) -> None:
    """It shares the transaction of the next that is urgent, and without one goes after a moment by itself."""
    patient = asyncio.create_task(writer.say("patient", within=LINGER))
    await asyncio.sleep(LINGER / 10)
    assert not patient.done()
    await writer.say("urgent")
    assert await patient == 1
    assert len(writer.groups) == 1
    assert await asyncio.wait_for(writer.say("alone", within=LINGER), PATIENCE) == 3


async def test_the_shortest_wait_counts_for_all(writer: Words) -> None:
    """Whoever waits for long goes with the first who does not, in whatever order they came."""
    for waits in ((LONG_WAIT, LINGER), (LINGER, LONG_WAIT), (LONG_WAIT, LINGER / 2, LINGER)):
        before = len(writer.groups)
        words = [f"{before} {number}" for number in range(len(waits))]
        saying = [writer.say(word, within=wait) for word, wait in zip(words, waits, strict=True)]
        await asyncio.wait_for(asyncio.gather(*saying), PATIENCE)
        assert len(writer.groups) == before + 1


async def test_enough_of_them_wait_no_longer(writer: Words) -> None:
    """Nobody comes who is in a hurry, and nobody has to."""
    saying = [writer.say(f"w{number}", within=LONG_WAIT) for number in range(ENOUGH)]
    await asyncio.wait_for(asyncio.gather(*saying), PATIENCE)
    assert len(writer.groups) == 1


async def test_one_fault_of_its_own_is_handed_to_whoever_made_it(writer: Words) -> None:
    """The others are committed all the same, and nothing of the one that failed is."""

    def break_off(connection: Connection) -> None:
        saying("half")(connection)
        raise LookupError("my own")

    results = await asyncio.gather(
        writer.say("a"),
        writer.call(break_off),
        writer.say("a"),
        writer.say("b"),
        return_exceptions=True,
    )
    assert [type(result).__name__ for result in results] == ["int", "LookupError", "RowExists", "int"]
    assert writer.said() == ["a", "b"]
    assert writer.commit.available


async def test_a_writer_that_was_cancelled_before_its_turn_does_nothing(writer: Words) -> None:
    """A caller that is gone cannot use a result, and the others are not disturbed."""
    gone = asyncio.create_task(writer.say("gone"))
    other = asyncio.create_task(writer.say("other"))
    await asyncio.sleep(0)
    gone.cancel()
    assert await other == 1
    assert writer.said() == ["other"]


async def test_a_writer_that_is_cancelled_in_its_turn_leaves_a_whole_transaction(writer: Words) -> None:
    """The transaction under way is committed, and the other callers get their results."""
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slowly(connection: Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        saying("slow")(connection)

    gone = asyncio.create_task(writer.call(slowly))
    other = asyncio.create_task(writer.say("other"))
    await begun.wait()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await other == 2
    assert writer.said() == ["slow", "other"]


async def test_what_was_committed_before_an_outage_is_not_done_again(
    writer: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group that is split for one's fault, and then meets an outage half-way: the first half has its results."""
    monkeypatch.setattr("notifier.store.writer.RETRY_DELAY", 0.01)
    tries: list[str] = []

    def fail(connection: Connection) -> None:
        raise LookupError("my own")

    def fill_the_disk_once(connection: Connection) -> object:
        tries.append("big")
        if len(tries) == 1:  # on this connection; the next starts afresh
            connection.execute("PRAGMA max_page_count=1")
        connection.execute("INSERT INTO said VALUES (:word)", {"word": "big" * 10_000})
        return "big"

    results = await asyncio.wait_for(
        asyncio.gather(
            writer.say("first", hold=True),
            writer.call(fail, hold=True),
            writer.call(fill_the_disk_once, hold=True),
            writer.say("unheld"),
            writer.say("last", hold=True),
            return_exceptions=True,
        ),
        20,
    )
    assert [type(result).__name__ for result in results] == ["int", "LookupError", "str", "StoreUnavailable", "int"]
    assert [word[:5] for word in writer.said()] == ["first", "bigbi", "last"]
    assert len(tries) == 2


async def test_an_outage_is_told_to_all_who_do_not_wait(writer: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it lasts, others are refused without asking the database; one probe finds out that it is over."""
    monkeypatch.setattr("notifier.store.writer.RETRY_DELAY", 0.01)
    full = [True]

    def bound(raw: sqlite3.Connection) -> None:
        raw.execute(f"PRAGMA max_page_count={1 if full[0] else 4294967294}")

    with each_connection(bound):
        results = await asyncio.gather(*(writer.say("big" * 10_000 + str(n)) for n in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert not writer.commit.available
    began = writer.began
    with pytest.raises(StoreUnavailable):
        await writer.say("refused")
    full[0] = False
    await until(lambda: writer.commit.available)
    assert writer.began > began
    assert await writer.say("now") == 1


async def test_nothing_is_taken_after_the_end(writer: Words) -> None:
    """A late writer is told so, held or not."""
    writer.commit.close()
    for hold in (True, False):
        with pytest.raises(StoreUnavailable, match="closed"):
            await writer.say("late", hold=hold)


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_may_wait_next_to_no_time_waits_for_the_rest(
    path: Path, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """On each loop: for such a time, uvloop makes no timer."""

    async def work() -> list[object]:
        sqlite3.connect(path).close()
        words = Words(path)
        running = asyncio.create_task(words.commit.run(), name="store")
        try:
            operations = [(CallOp(str), within) for within in (1.0, 1e-9, 1e-6, 1.0)]
            async with asyncio.timeout(PATIENCE):
                results: list[object] = await asyncio.gather(
                    *(words.commit.submit(operation, within=within) for operation, within in operations)
                )
                return results
        finally:
            words.commit.close()
            await running
            words.commit.shutdown()

    with asyncio.Runner(loop_factory=factory) as runner:
        assert len(runner.run(work())) == 4
