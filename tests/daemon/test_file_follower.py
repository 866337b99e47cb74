"""A file that is lost for a moment, between being moved away and coming back, is not read meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waits import until

from notifier.config import Reading, Stamp
from notifier.config.reading import digest
from notifier.daemon import file_follower
from notifier.daemon.file_follower import FileFollower
from notifier.runtime.wake import Wake

LOOKS = 20  # several times what it takes to find quiet


class Files:
    """A configuration with the watch files a and b; `reload` is what an accepted reload does."""

    def __init__(self, directory: Path) -> None:
        self.a, self.b = directory / "w/a.yaml", directory / "w/b.yaml"
        self.config = directory / "config.yaml"
        self.a.parent.mkdir()
        for path in (self.config, self.a, self.b):
            path.write_text("[1]")
        self.wake = Wake()
        self.looks = 0
        self.reloads = 0
        self.in_force = SimpleNamespace(reload_on_change=True, reading=self.read())
        self.reloader: Any = SimpleNamespace(
            config=self.in_force, reading=self.in_force.reading, attempt=self.attempt, stopping=False
        )

    def read(self) -> Reading:
        """Read the files as they are."""
        there = [path for path in (self.config, self.a, self.b) if path.exists()]
        return Reading(path=self.config, patterns=("w/*.yaml",), files={path: digest(path) for path in there})

    async def attempt(self) -> list[Any]:
        """Count a reload of the follower's, and read the files."""
        self.reloads += 1
        self._accept()
        return []

    def reload(self) -> None:
        """Read the files anew, as after SIGHUP."""
        self._accept()
        self.wake.set()

    def refuse(self) -> None:
        """Read a configuration that is no YAML, so that its watch files are unknown."""
        self.reloader.reading = Reading(path=self.config, files={self.config: digest(self.config)})
        self.wake.set()

    def _accept(self) -> None:
        self.reloader.reading = self.in_force.reading = self.read()

    async def looked(self) -> None:
        """Return after some more looks at the files."""
        before = self.looks
        self.wake.set()
        await until(lambda: self.looks >= before + LOOKS)


@asynccontextmanager
async def followed(directory: Path, monkeypatch: pytest.MonkeyPatch, **times: float) -> AsyncIterator[Files]:
    """Follow two files with these pauses; `DOUBT` is longer than any test."""
    for name, seconds in (
        {"LOOK_AGAIN": 0.01, "SOON": 0.01, "STEP": 0.01, "QUIET": 0.05, "DOUBT": 3600.0} | times
    ).items():
        monkeypatch.setattr(file_follower, name, seconds)
    files, stamps = Files(directory), Reading.stamps

    def counted(reading: Reading) -> dict[Path, Stamp | None]:
        files.looks += 1
        return stamps(reading)

    monkeypatch.setattr(Reading, "stamps", counted)
    follower = FileFollower(reloader=files.reloader, wake=files.wake, store=SimpleNamespace(available=True))  # type: ignore[arg-type]
    running = asyncio.create_task(follower.run())
    try:
        yield files
    finally:
        running.cancel()
        await asyncio.wait({running})


def move(path: Path) -> None:
    """Move a file away."""
    path.rename(path.with_suffix(".off"))


def move_back(path: Path) -> None:
    """Move it back."""
    path.with_suffix(".off").rename(path)


def truncate(path: Path) -> None:
    """Empty a file."""
    path.write_text("")


def fill(path: Path) -> None:
    """Write it again."""
    path.write_text("[1]")


@pytest.mark.parametrize(("lose", "restore"), [(move, move_back), (truncate, fill)])
async def test_a_file_that_is_lost_right_after_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Path], None], restore: Callable[[Path], None]
) -> None:
    """The doubt holds though the follower has never seen the stamps of what the reload read."""
    async with followed(tmp_path, monkeypatch) as files:
        await files.looked()
        files.reload()
        lose(files.a)
        await files.looked()
        restore(files.a)
        await files.looked()
        assert files.reloads == 0


async def test_a_file_that_is_lost_while_a_refused_configuration_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refused reading names no watch files; those of the configuration in force count."""
    async with followed(tmp_path, monkeypatch) as files:
        files.config.write_text("[")
        files.refuse()
        await files.looked()
        move(files.a)
        files.config.write_text("[2]")
        await files.looked()
        assert files.reloads == 0
        move_back(files.a)
        await until(lambda: files.reloads == 1)


async def test_a_file_that_stays_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts in the end, and is no longer waited for once that was read."""
    async with followed(tmp_path, monkeypatch, DOUBT=0.3) as files:
        move(files.a)
        files.reload()  # as it stands without a
        truncate(files.b)
        await until(lambda: files.reloads == 1)
        monkeypatch.setattr(file_follower, "DOUBT", 3600.0)
        fill(files.b)
        await until(lambda: files.reloads == 2)


async def test_a_file_that_is_lost_beside_one_that_is_written_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other is read as it is after the longest wait, but not before the doubt about the lost one is over."""
    async with followed(tmp_path, monkeypatch, LONGEST=0.1) as files:
        move(files.a)
        before = files.looks
        while files.looks < before + 2 * LOOKS:
            files.b.write_text(f"[{files.looks}]")
            files.wake.set()
            await asyncio.sleep(0.005)
        assert files.reloads == 0
        move_back(files.a)
        await until(lambda: files.reloads > 0)
