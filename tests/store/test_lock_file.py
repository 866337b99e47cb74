"""The lock file keeps others out, and knows whose log lies beside the database."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from store_rig import follow, move, running
from structlog.typing import EventDict

from notifier.core.errors import StoreError, StoreUnavailable
from notifier.store import DeliveryFilter, Store, WatchFilter
from notifier.store.lock_file import LockFile


def backup(path: Path, to: Path) -> None:
    """Copy a database while it is in use."""
    source, target = sqlite3.connect(path), sqlite3.connect(to)
    source.backup(target)
    source.close()
    target.close()


def checkpoint(path: Path) -> None:
    """Write the log back into the file, and empty it."""
    raw = sqlite3.connect(path, timeout=30)
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()


def crashed(path: Path, at: Path) -> None:
    """Leave files behind as a process that was killed does: SQLite tidies up nothing."""
    for each in path.parent.glob(path.name + "*"):
        os.link(each, at / each.name)  # the same files, by other names


async def names(store: Store) -> list[str]:
    return sorted(item["id"] for item in await store.lists.watches(WatchFilter(), limit=100))


def is_sound(path: Path) -> bool:
    raw = sqlite3.connect(path)
    try:
        return bool(raw.execute("PRAGMA integrity_check").fetchone() == ("ok",))
    finally:
        raw.close()


def test_only_its_owner_can_open_it(path: Path) -> None:
    """A user who can open it can keep the daemon from starting. An older version's file is closed to others too."""
    name = path.with_name(path.name + ".lock")
    LockFile(path).close()
    assert name.stat().st_mode & 0o777 == 0o600
    name.chmod(0o644)
    with pytest.raises(StoreError, match="in use by another notifier"):
        hold(path)
    assert name.stat().st_mode & 0o777 == 0o600


def hold(path: Path) -> None:
    first = LockFile(path)
    try:
        LockFile(path)
    finally:
        first.close()


async def test_a_copy_that_is_put_in_place_of_a_running_database_stays_whole(
    path: Path, url: str, logs: list[EventDict]
) -> None:
    """Stopped and started as the log advises: the copy holds, and the log of the file before is set aside."""
    copy = path.with_name("copy.db")
    async with running(url) as store:
        await follow(store, "copied")
        await asyncio.to_thread(backup, path, copy)
        watches = await follow(store, *map(str, range(200)))  # a log that does not fit the copy
        await move(store, watches[0], "processing")
        copy.replace(path)
        with pytest.raises(StoreUnavailable):
            await store.watches.remove("vidu", "1", now=0)
    async with running(url) as store:
        assert await names(store) == ["copied"]
        await follow(store, "new")
    assert is_sound(path)
    (aside,) = [line for line in logs if line["event"] == "store.log_set_aside"]
    assert (aside["log_level"], os.path.exists(aside["file"])) == ("warning", True)  # noqa: ASYNC240  # nothing else runs


async def test_a_copy_that_replaces_the_database_of_a_killed_daemon_stays_whole(
    path: Path, url: str, tmp_path: Path
) -> None:
    """The last commits of the killed daemon are in the log that is set aside."""
    copy, elsewhere = path.with_name("copy.db"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with running(url) as store:
        await follow(store, "copied")
        await asyncio.to_thread(backup, path, copy)
        await follow(store, *map(str, range(200)))
        crashed(path, elsewhere)
    left = elsewhere / path.name
    assert left.with_name(left.name + "-wal").stat().st_size > 0
    left.unlink()
    shutil.copy(copy, left)
    async with running(f"sqlite:///{left}") as store:
        assert await names(store) == ["copied"]
    assert is_sound(left)


async def test_a_copy_that_is_written_over_a_database_is_not_spoiled(path: Path, url: str, tmp_path: Path) -> None:
    """The file is the same by its numbers, so that only a check tells: nothing is written before."""
    copy, elsewhere = path.with_name("copy.db"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with running(url) as store:
        await asyncio.gather(
            *(move(store, watch, "processing") for watch in await follow(store, *map(str, range(200))))
        )
        await asyncio.to_thread(backup, path, copy)
        watches = await follow(store, *map(str, range(200, 2000)))
        await asyncio.to_thread(checkpoint, path)  # the log begins again: it misses pages that the copy lacks
        await asyncio.gather(*(move(store, watch, "processing") for watch in watches))
        for each in path.parent.glob(path.name + "*"):
            shutil.copy(each, elsewhere / each.name)
    left = elsewhere / path.name
    left.write_bytes(copy.read_bytes())
    with pytest.raises(StoreError, match=r"damaged \(.*\); .*move notifier.db-wal away"):
        await asyncio.to_thread(Store.open, f"sqlite:///{left}")
    assert left.read_bytes() == copy.read_bytes()
    left.with_name(left.name + "-wal").unlink()
    async with running(f"sqlite:///{left}") as store:
        assert len(await names(store)) == 100, "the first of a page"
    assert is_sound(left)


async def test_the_log_of_a_killed_daemon_is_used(path: Path, url: str, tmp_path: Path, logs: list[EventDict]) -> None:
    """It has what was committed last."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with running(url) as store:
        watches = await follow(store, "1", "2")
        await move(store, watches[0], "processing")
        crashed(path, elsewhere)
    async with running(f"sqlite:///{elsewhere / path.name}") as store:
        assert await names(store) == ["1", "2"]
        assert len(await store.lists.deliveries(DeliveryFilter(), limit=5)) == 1
    assert not [line for line in logs if line["event"] == "store.log_set_aside"]


async def test_a_copy_of_all_files_is_used_whole(path: Path, url: str, tmp_path: Path) -> None:
    """On another disk every file is another: the log still belongs to the database that came with it."""
    moved = tmp_path / "moved"
    moved.mkdir()
    async with running(url) as store:
        watches = await follow(store, "1", "2")
        await move(store, watches[0], "processing")
        for each in path.parent.glob(path.name + "*"):
            shutil.copy(each, moved / each.name)
    async with running(f"sqlite:///{moved / path.name}") as store:
        assert await names(store) == ["1", "2"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b'{"file": 1}', b"{" * 10_000])
async def test_a_lock_file_of_another_version_or_of_nobody_is_used(path: Path, url: str, content: bytes) -> None:
    """It tells nothing about files then."""
    path.with_name(path.name + ".lock").write_bytes(content)
    async with running(url) as store:
        await follow(store, "1")
    async with running(url) as store:
        assert await names(store) == ["1"]
