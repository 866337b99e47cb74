"""A change writes few pages of SQLite: each is copied, checksummed and written twice, to the log and to the file."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from store_rig import follow, move, running, settled

from notifier.store import sqlite

FRAME = 4096 + 24  # bytes of a page in the write-ahead log (sqlite.org/walformat.html)
WATCHES, CHANGES = 2_000, 200
STEP_PAGES, END_PAGES = 13, 15  # at most, of a change with its delivery and the verdict; 11.5 and 14.5 were counted


@pytest.mark.parametrize(("state", "most"), [("processing", STEP_PAGES), ("success", END_PAGES)])
async def test_a_change_writes_few_pages(
    path: Path, url: str, monkeypatch: pytest.MonkeyPatch, state: str, most: int
) -> None:
    """None of them belongs to an index of watches, while the watch goes on."""
    monkeypatch.setattr(sqlite, "CHECKPOINT_PAGES", 1_000_000)
    async with running(url) as store:
        watches = await follow(store, *map(str, range(WATCHES)))
        log = path.with_name(path.name + "-wal")
        before = log.stat().st_size
        for watch in random.Random(1).sample(watches, CHANGES):
            _, [delivery] = await move(store, watch, state)
            await store.outbox.settle(settled(delivery), urgent=True)
        written = log.stat().st_size - before
    assert written / FRAME / CHANGES <= most
