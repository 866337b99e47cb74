"""While the database cannot be written, nothing that was acknowledged is lost, and work resumes by itself.

Every fault is real: another process's lock, a file that was moved, a limit of the system, a database that may not grow.
"""

# ruff: noqa: ASYNC240 - the loop has nothing else to do while a test handles its files

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from statements import each_connection
from store_rig import T0, follow, move, running, settled, wanted
from structlog.testing import capture_logs
from structlog.typing import EventDict
from waits import PATIENCE, until

from notifier.core import endpoint
from notifier.core.errors import StoreUnavailable
from notifier.store import DeliveryFilter, EndpointChange, sqlite, writer
from notifier.store.connection import Connection

pytestmark = pytest.mark.usefixtures("hasty")


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[EventDict]]:
    """Collect log lines in memory: a file could not be written either."""
    with capture_logs() as kept:
        yield kept


SICK = EndpointChange(name="app", fingerprint="f", update=endpoint.disabling(T0, "http_410", None))
HOLD_LOCK = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""
PROBE = writer._probe
SIDES = ("", "-wal", "-shm")  # of a database: the file, its journal, the journal's index


class Fault:
    """Something that can be wrong with a database, and put right again."""

    says: ClassVar[str]  # in the log

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def strike(self) -> None:
        """Make it wrong."""

    @abstractmethod
    def pass_over(self) -> None:
        """Put it right."""


class Locked(Fault):
    """Another process holds the write lock."""

    says = "database is locked"

    def strike(self) -> None:
        self.holder = subprocess.Popen(
            [sys.executable, "-c", HOLD_LOCK, str(self.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"held\n"

    def pass_over(self) -> None:
        with self.holder:
            self.holder.communicate()


class MovedAway(Fault):
    """The database was moved, journal and all."""

    says = "moved away"
    sides: ClassVar[tuple[str, ...]] = SIDES

    def strike(self) -> None:
        self.elsewhere = self.path.parent / "elsewhere"
        self.elsewhere.mkdir()
        for side in self.sides:
            os.rename(f"{self.path}{side}", self.elsewhere / f"{self.path.name}{side}")

    def pass_over(self) -> None:
        for found in self.elsewhere.iterdir():
            found.rename(self.path.parent / found.name)


class MovedAlone(MovedAway):
    """The database was moved, but not its journal, where the newest is."""

    sides = ("",)


class Replaced(MovedAway):
    """Another database was put in its place."""

    says = "replaced"

    def strike(self) -> None:
        super().strike()
        other = sqlite3.connect(self.path)
        other.execute("CREATE TABLE watches (pk)")
        other.close()

    def pass_over(self) -> None:
        self.path.unlink()
        super().pass_over()


class TooBig(Fault):
    """The system lets no file grow, as on a full disk or beyond a quota."""

    says = "disk I/O error"

    def strike(self) -> None:
        self.was = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, self.was[1]))

    def pass_over(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.was)


class Forbidden(Fault):
    """The file and its directory may not be written, and the connection was lost to a lock meanwhile."""

    says = "database is locked"

    def strike(self) -> None:
        self.lock = Locked(self.path)
        self.lock.strike()
        self.path.chmod(0o400)
        self.path.parent.chmod(0o500)

    def pass_over(self) -> None:
        self.lock.pass_over()
        self.path.parent.chmod(0o700)
        self.path.chmod(0o600)


@pytest.fixture(params=[Locked, MovedAway, MovedAlone, Replaced, TooBig, Forbidden], ids=lambda kind: kind.__name__)
def fault(request: pytest.FixtureRequest, path: Path, unprivileged: None) -> Fault:
    """Name what goes wrong."""
    made: Fault = request.param(path)
    return made


async def test_what_may_not_be_lost_waits_and_the_rest_is_told_at_once(
    url: str, fault: Fault, logs: list[EventDict]
) -> None:
    """Steps, settlements, health and releases go through when the fault is over; others raise StoreUnavailable.

    It is said once that the store is away, and once that it is back.
    """
    async with running(url) as store:
        one, two, three, spare = await follow(store, "1", "2", "3", "4")
        one, (delivery,) = await move(store, one, "queueing")
        fault.strike()
        try:
            waiting = [
                asyncio.create_task(move(store, two, "queueing")),
                asyncio.create_task(store.outbox.settle(settled(delivery))),
                asyncio.create_task(store.endpoints.change(SICK)),
                asyncio.create_task(store.watches.release([spare])),
            ]
            await until(lambda: not store.available)
            waiting.append(asyncio.create_task(move(store, three, "queueing")))
            for refused in (
                store.watches.apply([wanted("5")], origin="api", now=T0),
                store.watches.remove("vidu", "1", now=T0),
                store.watches.claim(1),
                store.outbox.claim({"app": 1}, now=T0),
                store.outbox.retry(DeliveryFilter(), now=T0),
                store.prune(T0),
            ):
                with pytest.raises(StoreUnavailable):
                    await asyncio.wait_for(refused, PATIENCE)
            assert not any(task.done() for task in waiting)
        finally:
            fault.pass_over()
        await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)
        assert store.available
        assert [item["task"] for item in await store.lists.deliveries(DeliveryFilter(), limit=9)] == ["3", "2", "1"]
        assert await store.watches.claim(9) == [spare]
    said = [line for line in logs if line["event"].startswith("store.")]
    assert [line["event"] for line in said] == ["store.unavailable", "store.recovered"]
    assert fault.says in said[0]["error"]


async def test_a_store_that_nobody_waits_for_recovers_by_itself(url: str, fault: Fault) -> None:
    """A daemon with nothing to save would never find out otherwise."""
    async with running(url) as store:
        (watch,) = await follow(store, "1")
        fault.strike()
        try:
            with pytest.raises(StoreUnavailable):
                await store.watches.apply([wanted("2")], origin="api", now=T0)
            assert not store.available
        finally:
            fault.pass_over()
        await until(lambda: store.available)
        assert len((await store.watches.apply([wanted("2")], origin="api", now=T0)).added) == 1
        await move(store, watch, "queueing")


async def test_the_end_does_not_wait_for_the_database(url: str, fault: Fault) -> None:
    """Waiting callers get an error that nothing was saved, and the daemon can stop."""
    async with running(url) as store:
        watches = await follow(store, *map(str, range(5)))
        fault.strike()
        try:
            waiting = [asyncio.create_task(move(store, watch, "queueing")) for watch in watches]
            await until(lambda: not store.available)
            await store.close()
            results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), PATIENCE)
            assert [type(result) for result in results] == [StoreUnavailable] * 5
        finally:
            fault.pass_over()
    async with running(url) as store:
        assert await store.watches.claim(9) == watches


async def test_nothing_acknowledged_is_lost_while_faults_come_and_go(url: str, fault: Fault) -> None:
    """Steps and settlements go on through several outages; at the end there is what was acknowledged, once."""
    struck = 0
    async with running(url) as store:
        watches = {watch.pk: watch for watch in await follow(store, *map(str, range(20)))}
        done: set[int] = set()
        stop = asyncio.Event()

        async def work(pk: int) -> None:
            while not stop.is_set():
                watches[pk], deliveries = await move(store, watches[pk], f"state {watches[pk].sequence}")
                for delivery in deliveries:
                    await store.outbox.settle(settled(delivery))
                    done.add(delivery.id)

        async with asyncio.TaskGroup() as tasks:
            for pk in watches:
                tasks.create_task(work(pk))
            for _ in range(3):
                await asyncio.sleep(0.05)
                fault.strike()
                try:
                    await until(lambda: not store.available)
                    struck += 1
                finally:
                    fault.pass_over()
                    if isinstance(fault, MovedAway):
                        fault.elsewhere.rmdir()
                await until(lambda: store.available)
            stop.set()
        listed = await store.lists.deliveries(DeliveryFilter(), limit=100_000)
    assert struck == 3
    assert len(listed) == sum(watch.sequence for watch in watches.values())
    assert {item["id"] for item in listed if item["status"] == "delivered"} == done
    async with running(url) as store:
        assert {watch.pk: watch for watch in await store.watches.claim(100)} == watches


async def test_a_database_that_may_not_grow_takes_no_step_in_part(url: str) -> None:
    """A step too big for what room is left waits; after it was made, it is there once and whole."""
    limit = [0]

    def bound(raw: sqlite3.Connection) -> None:
        raw.execute(f"PRAGMA max_page_count={limit[0] or 4294967294}")

    with each_connection(bound):
        async with running(url) as store:
            watches = await follow(store, *map(str, range(300)))
        limit[0] = 60
        async with running(url) as store:
            assert await store.watches.claim(1000) == watches
            moves = [asyncio.create_task(move(store, watch, "queueing")) for watch in watches]
            await until(lambda: not store.available)
            assert await store.lists.deliveries(DeliveryFilter(), limit=1000) == []
            limit[0] = 0
            await asyncio.wait_for(asyncio.gather(*moves), PATIENCE)
            assert len(await store.lists.deliveries(DeliveryFilter(), limit=1000)) == 300


@contextmanager
def no_room(path: Path) -> Iterator[None]:
    """Let the log not grow, as on a full disk, right after a checkpoint: what is written next takes its old place."""
    with closing(sqlite3.connect(path)) as other:
        [(busy, pages, done)] = other.execute("PRAGMA wal_checkpoint(PASSIVE)")
    assert (busy, done) == (0, pages)
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{path}-wal").stat().st_size, was[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)


async def test_a_store_is_not_back_because_a_small_change_finds_room(
    url: str, path: Path, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was refused would be refused again. The store is back when there is room, and it was told once."""
    tries = []

    def probe(connection: Connection) -> None:
        tries.append(connection)
        PROBE(connection)

    monkeypatch.setattr(writer, "_probe", probe)
    many = [wanted(f"new {n}", metadata={"text": "x" * 900}) for n in range(900)]
    async with running(url) as store:
        (watch, *_) = await follow(store, *map(str, range(300)))
        with no_room(path):
            with pytest.raises(StoreUnavailable):
                await store.watches.apply(many, origin="api", now=T0)
            await until(lambda: len(tries) > 3)
            assert not store.available
            assert [line["event"] for line in logs] == ["store.unavailable"]
            with pytest.raises(StoreUnavailable):
                await store.probe()
        await until(lambda: store.available)
        assert [line["event"] for line in logs] == ["store.unavailable", "store.recovered"]
        assert len((await store.watches.apply(many, origin="api", now=T0)).added) == 900
        await move(store, watch, "queueing")


async def test_what_waits_is_saved_where_it_finds_room(url: str, path: Path) -> None:
    """A small change is not kept from the last of the room by those that need more; a reload is refused at once."""
    async with running(url) as store:
        (watch, *_) = await follow(store, *map(str, range(300)))
        with no_room(path):
            with pytest.raises(StoreUnavailable):
                await store.probe()
            await asyncio.wait_for(move(store, watch, "queueing"), PATIENCE)


async def test_to_prove_room_leaves_nothing_behind(url: str, path: Path) -> None:
    """Neither in the database nor in its log, however often it is done, and among changes."""
    async with running(url) as store:
        watches = await follow(store, *map(str, range(20)))
        with closing(sqlite3.connect(path)) as other:
            (pages,) = other.execute("PRAGMA page_count").fetchone()
            counters = other.execute("SELECT name, value, typeof(value) FROM counters ORDER BY name").fetchall()
            await store.probe()
            log = Path(f"{path}-wal").stat().st_size
            assert log > sqlite.ROOM * 0.9, "the log has had nearly all, and the cache the rest"
            for _ in range(10):
                await store.probe()
            assert Path(f"{path}-wal").stat().st_size < log + sqlite.ROOM // 4
            assert other.execute("SELECT name, value, typeof(value) FROM counters ORDER BY name").fetchall() == counters
            await asyncio.gather(*(move(store, watch, "queueing") for watch in watches), store.probe())
            assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert other.execute("PRAGMA page_count").fetchone()[0] < pages + 20
            assert other.execute("PRAGMA freelist_count").fetchone() == (0,)
        assert len(await store.lists.deliveries(DeliveryFilter(), limit=99)) == 20


async def test_a_short_lock_is_waited_for_and_not_worth_a_word(
    url: str, path: Path, logs: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody looks in with another program: the write comes a little later, that is all."""
    monkeypatch.setattr("notifier.store.sqlite.BUSY_TIMEOUT", 20_000)
    lock = Locked(path)
    async with running(url) as store:
        (watch,) = await follow(store, "1")
        lock.strike()
        moving = asyncio.create_task(move(store, watch, "queueing"))
        await asyncio.sleep(0.2)
        assert not moving.done()
        lock.pass_over()
        await asyncio.wait_for(moving, PATIENCE)
        assert store.available
    assert [line for line in logs if line["event"].startswith("store.")] == []


async def test_reading_goes_on_while_another_writes(url: str, path: Path) -> None:
    """A lock keeps writers out, not readers."""
    lock = Locked(path)
    async with running(url) as store:
        await follow(store, "1")
        lock.strike()
        try:
            assert (await asyncio.wait_for(store.lists.summary(), PATIENCE))["watches"] == {"vidu": {"new": 1}}
        finally:
            lock.pass_over()


@pytest.mark.usefixtures("unprivileged")
async def test_permissions_that_are_taken_away_do_not_disturb_a_running_store(url: str, path: Path) -> None:
    """An open file stays open; the next start names the file that is missing."""
    async with running(url) as store:
        (watch,) = await follow(store, "1")
        path.chmod(0o400)
        await move(store, watch, "queueing")
        assert len(await store.lists.deliveries(DeliveryFilter(), limit=9)) == 1
        path.chmod(0o600)


async def test_a_deleted_database_is_not_written_on(url: str, path: Path) -> None:
    """Its rows are gone, but nothing more is acknowledged that would be lost as well, and no new file is created."""
    async with running(url) as store:
        (watch,) = await follow(store, "1")
        for side in SIDES:
            os.unlink(f"{path}{side}")
        moving = asyncio.create_task(move(store, watch, "queueing"))
        await until(lambda: not store.available)
        for reading in (
            store.lists.summary(),
            store.lists.deliveries(DeliveryFilter(), limit=1),
            store.endpoints.states(),
        ):
            with pytest.raises(StoreUnavailable):
                await reading
        assert not moving.done()
        assert not path.exists()
        await store.close()
        with pytest.raises(StoreUnavailable):
            await moving


async def test_what_cannot_be_read_is_an_outage_too(url: str, path: Path) -> None:
    """Damage is met as StoreUnavailable, by readers and writers alike; it is not for callers to know SQLite's words."""
    async with running(url) as store:
        watches = await follow(store, *map(str, range(500)))
        await asyncio.gather(*(move(store, watch, "queueing") for watch in watches))
    async with running(url) as store:
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(path.stat().st_size - 4096))
        with pytest.raises(StoreUnavailable):
            await store.lists.summary()
        with pytest.raises(StoreUnavailable):
            await store.watches.claim(10)
        assert not store.available
