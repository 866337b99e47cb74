"""The power fails: whatever part of the writes after the last sync has reached the disk, all that was told is there.

SQLite syncs its log with every COMMIT, and the file before it writes the log from its beginning again. So between two
acknowledgements any part of what is new in the log may be on the disk, and of a checkpoint any part of the file. Such
disks are made here, cut at every frame and page and in the middle of each, and opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from store_rig import T0, claim, follow, move, running, settled

from notifier.store import Store, sqlite

PAGE, HEADER, FRAME = 4096, 32, 4096 + 24  # bytes: of SQLite's file format, sections 4.1 and 4.2
COMMITS = 30
LEAST = 500  # disks
EVERY = 60  # of which one is opened by the store itself

Rows = tuple[list[tuple[object, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file and its log, and what was acknowledged when they were so."""

    file: bytes
    log: bytes
    rows: Rows


def rows(path: Path) -> Rows:
    """Read what callers were told of: watches, events and deliveries."""
    raw = sqlite3.connect(path, isolation_level=None)
    try:
        raw.execute("PRAGMA synchronous=OFF")  # of this connection: what it reads need not be lasting
        assert raw.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        return tuple(
            raw.execute(query).fetchall()
            for query in (
                "SELECT pk, id, state, sequence FROM watches ORDER BY pk",
                "SELECT pk, id, sequence FROM events ORDER BY pk",
                "SELECT id, status, attempt, due FROM deliveries ORDER BY id",
            )
        )
    finally:
        raw.close()


async def course(store: Store, path: Path) -> list[Disk]:
    """Commit one thing after another; return the disk after each acknowledgement."""
    disks: list[Disk] = []

    def acknowledged() -> None:
        file, log = path.read_bytes(), path.with_name("notifier.db-wal").read_bytes()
        disks.append(Disk(file=file, log=log, rows=rows(path)))

    watches = await follow(store, *map(str, range(12)))
    acknowledged()
    for number in range(COMMITS // 2):
        place = number % len(watches)
        watches[place], (delivery,) = await move(store, watches[place], f"state {number}", at=T0 + number)
        acknowledged()
        await store.outbox.settle(settled(delivery), urgent=True)
        acknowledged()
    return disks


def cuts(before: Disk, after: Disk) -> Iterator[tuple[bytes, bytes]]:
    """Yield file and log, as they may be when the power fails between two acknowledgements."""
    starts = [HEADER + n * FRAME for n in range((len(after.log) - HEADER) // FRAME)]
    fresh = [at for at in starts if after.log[at : at + FRAME] != before.log[at : at + FRAME]]
    log = bytearray(before.log)
    if after.log[:HEADER] != before.log[:HEADER]:  # it begins again
        log[:HEADER] = after.log[:HEADER]
        yield before.file, bytes(log)
    for at in fresh:
        half = log.copy()
        half[at : at + FRAME // 2] = after.log[at : at + FRAME // 2]
        yield before.file, bytes(half)
        late = bytearray(after.log)
        late[at : at + FRAME] = before.log[at : at + FRAME].ljust(FRAME, b"\0")  # the last is there, this one is not
        yield before.file, bytes(late)
        log[at : at + FRAME] = after.log[at : at + FRAME]
        yield before.file, bytes(log)
    file = bytearray(before.file.ljust(len(after.file), b"\0"))
    for at in range(0, len(after.file), PAGE):  # of a checkpoint, after its log was synced
        if after.file[at : at + PAGE] != before.file[at : at + PAGE]:
            file[at : at + PAGE] = after.file[at : at + PAGE]
            yield bytes(file), after.log


async def test_all_that_was_acknowledged_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Path, url: str
) -> None:
    """And a transaction that was under way is there whole, or not at all."""
    monkeypatch.setattr(sqlite, "CHECKPOINT_PAGES", 30)
    async with running(url) as store:
        assert _settings(store) == ("wal", 2)  # FULL: sqlite.org/pragma.html#pragma_synchronous
        disks = await course(store, path)
    assert len({disk.log[:HEADER] for disk in disks}) > 3, "there were checkpoints"
    copy = tmp_path / "copy" / "notifier.db"
    copy.parent.mkdir()
    made = whole = 0
    for number, (before, after) in enumerate(pairwise(disks)):
        for file, log in cuts(before, after):
            _write(copy, file, log)
            made += 1
            if made % EVERY == 0:
                await _opened(copy)
                _write(copy, file, log)
            found = rows(copy)
            whole += found == after.rows
            assert found in (before.rows, after.rows), f"after commit {number}"
    assert made >= LEAST
    assert 0 < whole < made
    print(f"{made} disks, {whole} of them with the transaction that was under way")


def _settings(store: Store) -> tuple[str, int]:
    with store._writer._engine.connect() as connection:
        return tuple(connection.raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous"))


def _write(copy: Path, file: bytes, log: bytes) -> None:
    for old in copy.parent.iterdir():
        old.unlink()
    copy.write_bytes(file)
    copy.with_name("notifier.db-wal").write_bytes(log)


async def _opened(copy: Path) -> None:
    """Open a disk as a start does; what was under way goes on."""
    async with running(f"sqlite:///{copy}") as store:
        deliveries = await claim(store, now=2 * T0, room=1000)
        open_ = [row for row in rows(copy)[2] if row[1] == "ready"]
        assert sorted(delivery.id for delivery in deliveries) == [row[0] for row in open_]
        for delivery in deliveries:
            await store.outbox.settle(settled(delivery), urgent=True)
        (watch, *_) = await follow(store)
        await move(store, watch, "success", at=2 * T0)
