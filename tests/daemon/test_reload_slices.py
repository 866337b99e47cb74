"""A reload stores many watches in slices: others write in between, and an outage between two of them is waited for."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from daemon_rig import serving
from waits import PATIENCE, until

from notifier.config import Problem, watch_list
from notifier.core.model import NewWatch
from notifier.daemon.app import Application
from notifier.daemon.reload import STOPPING
from notifier.store import Store, WatchChanges, WatchFilter, sqlite, writer

TEXT = """
sources: {{vidu: {{preset: vidu, base_url: "http://127.0.0.1:9", token: tok}}}}
watches: {watches}
store: {{url: "sqlite:///{directory}/n.db"}}
http: {{listen: "127.0.0.1:0"}}
shutdown_timeout: 1s
"""
WATCHES = 25
WANTED = {f"new-{number}" for number in range(WATCHES)}
SLICE = 10


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store ten watches at a time; wait for locks no longer than a test can."""
    monkeypatch.setattr(watch_list, "SLICE", SLICE)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 50)
    monkeypatch.setattr(writer, "RETRY_DELAY", 0.02)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "config.yaml", ["old-1", "old-2"])


def write(path: Path, watches: Sequence[str]) -> Path:
    path.write_text(TEXT.format(watches=list(watches), directory=path.parent))
    return path


def store(app: Application) -> Store:
    assert app.parts is not None
    return app.parts.store


async def reload(app: Application) -> Sequence[Problem]:
    assert app.parts is not None
    return await app.parts.reloader.reload()


async def listed(app: Application) -> set[str]:
    return {row["id"] for row in await store(app).lists.watches(WatchFilter(), limit=100)}


class Slices:
    """Notes the slices of a reload, and locks the database before one of them if told so."""

    def __init__(self, app: Application, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.lock_at: int | None = None
        self.other = sqlite3.connect(path.parent / "n.db", isolation_level=None)
        self._apply = store(app).watches.apply
        monkeypatch.setattr(store(app).watches, "apply", self.apply)

    async def apply(self, watches: Sequence[NewWatch], **options: Any) -> WatchChanges:
        if len(self.sizes) == self.lock_at:
            self.other.execute("BEGIN IMMEDIATE")
        self.sizes.append(len(watches))
        return await self._apply(watches, **options)


async def test_many_watches_are_stored_in_slices(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a transaction of its own; those of the files before are removed after the last one."""
    async with serving(path) as app:
        slices = Slices(app, path, monkeypatch)
        with closing(slices.other):
            write(path, [*sorted(WANTED), "old-2"])
            assert await reload(app) == []
            assert slices.sizes == [SLICE, SLICE, WATCHES + 1 - 2 * SLICE]
            assert await listed(app) == {*WANTED, "old-2"}


async def test_an_outage_before_the_first_slice_refuses_the_reload(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is in force."""
    async with serving(path) as app:
        slices = Slices(app, path, monkeypatch)
        with closing(slices.other):
            slices.other.execute("BEGIN IMMEDIATE")
            write(path, ["new"])
            [problem] = await reload(app)
            assert "the store cannot be used for now" in str(problem)
            slices.other.execute("COMMIT")
            assert slices.sizes == []
            assert await listed(app) == {"old-1", "old-2"}


@asynccontextmanager
async def half_way(
    app: Application, path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Slices, asyncio.Task[Sequence[Problem]]]]:
    """Reload as far as the second slice, for which the database is locked; yield the reload."""
    slices = Slices(app, path, monkeypatch)
    with closing(slices.other):
        slices.lock_at = 1
        write(path, sorted(WANTED))
        reloading = asyncio.create_task(reload(app), name="reload")
        await until(lambda: not store(app).available, "the database is locked")
        async with asyncio.timeout(PATIENCE):
            yield slices, reloading


async def test_an_outage_between_two_slices_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration is in force already; the watches follow it once the database is back."""
    async with serving(path) as app, half_way(app, path, monkeypatch) as (slices, reloading):
        assert not reloading.done()
        slices.other.execute("COMMIT")
        assert await reloading == []
        assert await listed(app) == WANTED


async def test_a_stop_between_two_slices_ends_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start reads the same files."""
    async with serving(path) as app, half_way(app, path, monkeypatch) as (_, reloading):
        app.stop()
        assert await reloading == [STOPPING]
    async with serving(path) as app:
        assert await listed(app) == WANTED
