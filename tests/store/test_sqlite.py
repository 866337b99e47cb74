"""A database is fit for use, or one line says why it is not and what to do."""

# ruff: noqa: ASYNC220, ASYNC240 - the loop has nothing else to do while a test handles its files

from __future__ import annotations

import asyncio
import os
import re
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from statements import each_connection
from store_rig import follow, move, running

from notifier.core.errors import StoreError, StoreTooNew
from notifier.store import DeliveryFilter, Store

HOLD_LOCK = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


async def fill(url: str, count: int = 200) -> None:
    """Make a database of some size, whole in its one file."""
    async with running(url) as store:
        watches = await follow(store, *map(str, range(count)))
        await asyncio.gather(*(move(store, watch, "queueing") for watch in watches))


def refusal(path: Path) -> str:
    """Open a database that cannot be used; return the message."""
    with pytest.raises(StoreError) as caught:
        Store.open(f"sqlite:///{path}")
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message or str(path.parent) in message
    assert "; " in message, "it says what to do"
    return message


def advice(message: str) -> str:
    return message.rpartition("; ")[2]


# -- files


async def test_a_new_database_is_private_and_whole_in_one_file(path: Path, url: str) -> None:
    """It holds metadata and callback bodies: nobody else may read it. In use, SQLite's journal is as private."""
    async with running(url) as store:
        (watch,) = await follow(store, "1")
        await move(store, watch, "queueing")
        used = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
        assert used.keys() == {"notifier.db", "notifier.db-wal", "notifier.db-shm", "notifier.db.lock"}
        assert {used["notifier.db"], used["notifier.db-wal"], used["notifier.db-shm"]} == {0o600}
    assert sorted(each.name for each in path.parent.iterdir()) == ["notifier.db", "notifier.db.lock"]


async def test_an_empty_file_becomes_a_database(path: Path, url: str) -> None:
    """`touch` and `install` are ways to prepare one."""
    path.touch()
    async with running(url) as store:
        assert await store.watches.claim(1) == []


@pytest.mark.parametrize("name", ["a b.db", "100%.db", "%20.db", "größe.db", "a'b.db", "a#b.db", "a?b.db", "-x.db"])
async def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    """Quoted as in any URL, the name is not read as anything but a name."""
    async with running(f"sqlite:///{tmp_path}/{quote(name)}"):
        assert (tmp_path / name).is_file()


async def test_a_write_is_on_the_disk_when_it_returns(url: str) -> None:
    """The connection that writes waits for the disk, in write-ahead mode; a power cut takes nothing back."""
    async with running(url) as store:
        found = await store._writer.call(
            lambda connection: [
                connection.execute(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
            ]
        )
    assert found == ["wal", 2]


async def test_the_journal_stays_small_under_load_and_reading(path: Path, url: str) -> None:
    """The write-ahead log is cut back as it goes, while others read; it does not grow with what was ever written."""
    peak = 0
    async with running(url) as store:
        watches = await follow(store, *map(str, range(400)))
        for n in range(40):
            reading = asyncio.create_task(store.lists.summary())
            moved = await asyncio.gather(*(move(store, watch, f"state {n}") for watch in watches))
            watches = [watch for watch, _ in moved]
            await reading
            peak = max(peak, path.with_name("notifier.db-wal").stat().st_size)
    assert path.stat().st_size > 8 << 20
    assert peak < 12 << 20


# -- refusals


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("no url", "not a database URL"),
        ("sqlite://", "in-memory"),
        ("sqlite:///:memory:", "in-memory"),
        ("sqlite:///file:x?mode=memory", "in-memory"),
        ("mysql://root:secret@localhost/notifier", "mysql is not supported"),
    ],
)
def test_an_address_that_is_no_lasting_database_is_refused(url: str, why: str) -> None:
    """The key is named; a password in it is not shown."""
    with pytest.raises(StoreError, match=why) as caught:
        Store.open(url)
    assert str(caught.value).startswith("store.url")
    assert "secret" not in str(caught.value)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """It is not made silently: the path is more likely mistyped than meant."""
    message = refusal(tmp_path / "missing" / "notifier.db")
    assert message == f"cannot write in {tmp_path / 'missing'}: No such file or directory; " + (
        "create it, or change store.url"
    )


def test_a_path_that_is_a_directory(path: Path) -> None:
    """A directory is no database."""
    path.mkdir()
    assert refusal(path) == f"cannot open {path}: Is a directory; check store.url and its permissions"


@pytest.mark.usefixtures("unprivileged")
def test_a_directory_that_may_not_be_written(path: Path) -> None:
    """SQLite needs it for its journal."""
    path.parent.chmod(0o500)
    assert "Permission denied" in refusal(path)
    path.parent.chmod(0o700)


@pytest.mark.usefixtures("unprivileged")
@pytest.mark.parametrize("mode", [0o000, 0o400])
async def test_a_file_that_may_not_be_written(path: Path, url: str, mode: int) -> None:
    """Somebody else's, or made read-only on purpose."""
    await fill(url, 1)
    path.chmod(mode)
    assert "Permission denied" in refusal(path)
    path.chmod(0o600)
    async with running(url):
        pass


@pytest.mark.usefixtures("unprivileged")
async def test_a_directory_that_became_read_only(path: Path, url: str) -> None:
    """The file and its lock can be opened, but no journal can be made beside them."""
    await fill(url, 1)
    path.parent.chmod(0o500)
    assert advice(refusal(path)) == "check the permissions of the file and its directory"
    path.parent.chmod(0o700)


def write(data: bytes, at: int = 0) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(at)
            file.write(data)

    return damage


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (write(b"certainly no database\n" * 50), "file is not a database"),
        (write(os.urandom(4096 * 20), 4096 * 3), "malformed|damaged"),
        (write(bytes(4096 * 20), 4096 * 3), "malformed|damaged"),
        (cut, "malformed|damaged"),
    ],
    ids=["garbage", "random pages", "empty pages", "cut off"],
)
async def test_a_damaged_file_is_refused_before_anything_is_written(
    path: Path, url: str, damage: Callable[[Path], None], why: str
) -> None:
    """It stays as it is, so that its rows can still be rescued."""
    await fill(url)
    damage(path)
    before = path.read_bytes()
    message = refusal(path)
    assert re.search(why, message)
    assert "***" not in message
    assert advice(message) == "restore a copy, or move it away to start anew"
    assert path.read_bytes() == before


@pytest.mark.parametrize("damaged", ["events", "deliveries", "deliveries_lane", "watches_source_id"])
async def test_what_is_damaged_is_named(path: Path, url: str, damaged: str) -> None:
    """A table or an index, by the page that its tree begins at."""
    await fill(url)
    raw = sqlite3.connect(path)
    name = "sqlite_autoindex_watches_1" if damaged == "watches_source_id" else damaged
    (root,) = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    raw.close()
    write(b"\0" * 4096, 4096 * (root - 1))(path)
    assert re.search(rf"damaged \((table|index) {name}: \D*{root}\b", refusal(path))


@pytest.mark.parametrize("table", ["counters", "deliveries"])
async def test_a_database_that_was_meddled_with_is_refused(path: Path, url: str, table: str) -> None:
    """One that claims to be up to date, but lacks a table."""
    await fill(url, 1)
    raw = sqlite3.connect(path)
    raw.execute(f"DROP TABLE {table}")
    raw.close()
    message = refusal(path)
    assert f"no such table: {table}" in message
    assert advice(message) == "restore a copy, or move it away to start anew"


async def test_a_database_of_something_else_is_left_alone(path: Path, url: str) -> None:
    """A mistyped path to another program's database adds tables to it at worst; its own are not touched."""
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE songs (title)")
    other.execute("INSERT INTO songs VALUES ('a')")
    other.commit()
    other.close()
    async with running(url):
        pass
    other = sqlite3.connect(path)
    assert other.execute("SELECT * FROM songs").fetchall() == [("a",)]
    other.close()


async def test_a_database_of_a_newer_version_is_refused(path: Path, url: str) -> None:
    """An older program does not know what the newer one promised."""
    await fill(url, 1)
    newer = sqlite3.connect(path)
    newer.execute("UPDATE alembic_version SET version_num = '9999'")
    newer.commit()
    newer.close()
    assert "was written by a newer notifier (schema 9999)" in refusal(path)
    with pytest.raises(StoreTooNew):
        Store.open(url)


@pytest.mark.parametrize("name", ["itself", "a link", "a linked directory"])
async def test_a_second_daemon_is_refused(path: Path, url: str, tmp_path: Path, name: str) -> None:
    """By whatever name it calls the file: two would send everything twice. The first does not notice."""
    async with running(url) as store:
        second = path
        if name == "a link":
            second = tmp_path / "link.db"
            second.symlink_to(path)
        elif name == "a linked directory":
            (tmp_path / "elsewhere").symlink_to(tmp_path)
            second = tmp_path / "elsewhere" / "notifier.db"
        with pytest.raises(StoreError) as caught:
            Store.open(f"sqlite:///{second}")
        assert str(caught.value) == f"{path} is in use by another notifier; stop it first, or change store.url"
        assert await store.watches.claim(1) == []
    async with running(url):
        pass


@pytest.mark.usefixtures("hasty")
async def test_a_database_that_another_program_holds_is_refused(path: Path, url: str) -> None:
    """Say so instead of hanging."""
    await fill(url, 1)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert advice(refusal(path)) == "another program holds it: close that"
        other.communicate()
    async with running(url):
        pass


@pytest.mark.parametrize("existing", [True, False])
async def test_a_full_disk_at_the_start_is_told_as_such(path: Path, url: str, existing: bool) -> None:
    """Also where there is nothing to migrate: a store that cannot be written is of no use."""
    if existing:
        await fill(url, 1)
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, was[1]))
    try:
        message = refusal(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)
    assert advice(message) == "see that its disk is well and has room"
    async with running(url):
        pass


async def test_a_database_that_cannot_grow_is_told_as_such(path: Path) -> None:
    """SQLite's own word for it."""

    def limit(raw: sqlite3.Connection) -> None:
        raw.execute("PRAGMA max_page_count=5")

    with each_connection(limit):
        assert advice(refusal(path)) == "make room on its disk"


async def test_a_refused_start_leaves_nothing_behind_that_stops_the_next(path: Path, url: str) -> None:
    """The lock goes with the failure."""
    path.write_bytes(b"certainly no database\n" * 50)
    refusal(path)
    refusal(path)
    path.unlink()
    async with running(url) as store:
        assert await store.lists.deliveries(DeliveryFilter(), limit=1) == []
