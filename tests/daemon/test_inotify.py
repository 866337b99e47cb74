"""Hints from the kernel: at every step of the way to a file, and for nothing else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from waits import PATIENCE

from notifier.daemon.inotify import MAX_DIRECTORIES, ChangeListener, directories
from notifier.runtime.wake import Wake

NOTHING = 0.8  # seconds in which none comes: twice what one takes at most


class Ear:
    """Somebody who is told."""

    def __init__(self) -> None:
        self.told = Wake()
        self.listener = ChangeListener(self.told)

    def listen(self, directory: Path, *patterns: str) -> bool:
        """Listen at a configuration in the directory, and its globs."""
        return self.listener.watch(directories([directory / "config.yaml"], directory, patterns))

    async def hears(self, change: Callable[[], object]) -> None:
        """Return once a change was told."""
        self.told.clear()
        change()
        async with asyncio.timeout(PATIENCE):
            await self.told.wait()

    async def hears_nothing(self, change: Callable[[], object]) -> None:
        """See that a change is not told."""
        await asyncio.sleep(NOTHING)  # whatever was under way
        self.told.clear()
        change()
        await asyncio.sleep(NOTHING)
        assert not self.told.is_set


@pytest.fixture
async def ear() -> AsyncIterator[Ear]:
    """Return one; its thread has ended when the test has."""
    made = Ear()
    yield made
    await made.listener.stop()


async def ready(ear: Ear, file: Path) -> None:
    """Return once somebody listens: change a file until that is told."""
    async with asyncio.timeout(PATIENCE):
        while not ear.told.is_set:
            file.write_text(os.urandom(4).hex())  # noqa: ASYNC240  # a few bytes
            await asyncio.sleep(0.05)


def scatter(directory: Path) -> None:
    """Make files that no glob fits."""
    for number in range(2000):
        (directory / f"{number}.txt").touch()


async def test_what_concerns_us_is_told(ear: Ear, tmp_path: Path) -> None:
    """The file itself, what fits a glob, and a directory on the way; not their neighbours."""
    (tmp_path / "w.d").mkdir()
    assert ear.listen(tmp_path, "w.d/*.yaml", "deep/**/*.yaml")
    await ready(ear, tmp_path / "config.yaml")
    await ear.hears_nothing(lambda: scatter(tmp_path / "w.d"))
    await ear.hears_nothing((tmp_path / "config.yml").touch)
    await ear.hears((tmp_path / "w.d/a.yaml").touch)
    await ear.hears((tmp_path / "w.d/a.yaml").unlink)
    await ear.hears((tmp_path / "deep").mkdir)
    await ear.hears(lambda: tmp_path.rename(tmp_path.with_name("gone")))


async def test_places_are_exchanged(ear: Ear, tmp_path: Path) -> None:
    """What is listened at follows the file system; the same places again are no news."""
    (tmp_path / "w.d").mkdir()
    assert ear.listen(tmp_path, "w.d/*.yaml")
    assert not ear.listen(tmp_path, "w.d/*.yaml")
    (tmp_path / "w.d").rename(tmp_path / "old")
    (tmp_path / "w.d").mkdir()
    assert ear.listen(tmp_path, "w.d/*.yaml"), "another directory of the same name"
    await ready(ear, tmp_path / "config.yaml")
    await ear.hears((tmp_path / "w.d/a.yaml").touch)
    await ear.hears_nothing((tmp_path / "old/b.yaml").touch)
    assert not ear.listener.watch({}), "none at all"


def names(found: dict[str, set[str]], root: Path) -> dict[str, set[str]]:
    """Shorten paths to what is below a directory."""
    return {str(Path(k).relative_to(root)): v for k, v in found.items() if Path(k).is_relative_to(root)}


def below(root: Path, paths: list[Path], *patterns: str) -> dict[str, set[str]]:
    """Return the names that matter, by directory below the root."""
    return names({where: set(place.names) for where, place in directories(paths, root, patterns).items()}, root)


def test_links_are_followed_by_every_step(tmp_path: Path) -> None:
    """Each entry that a link leads through may be the one that is exchanged."""
    (tmp_path / "vol/..1").mkdir(parents=True)
    (tmp_path / "vol/..1/w.yaml").touch()
    (tmp_path / "vol/..data").symlink_to("..1")
    (tmp_path / "vol/w.yaml").symlink_to("..data/w.yaml")
    (tmp_path / "etc").symlink_to(tmp_path / "vol/../vol")
    assert below(tmp_path, [tmp_path / "etc/w.yaml"]) == {
        ".": {"etc", "vol"},
        "vol": {"w.yaml", "..data", "..1"},
        "vol/..1": {"w.yaml"},
    }


def test_a_ring_of_links_leads_nowhere(tmp_path: Path) -> None:
    """Links that lead to each other end the way; directories that contain themselves are entered once."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/self").symlink_to(".")
    assert below(tmp_path, [tmp_path / "a"], "d/**/*.yaml") == {".": {"a", "b", "d"}, "d": {"*", "*.yaml"}}


def test_a_glob_may_be_anywhere_in_a_path(tmp_path: Path) -> None:
    """Directories that fit it now are listened at; those that may come to fit it are noticed, and what is missing."""
    (tmp_path / "a1/x").mkdir(parents=True)
    (tmp_path / "b1").mkdir()
    assert below(tmp_path, [], "a*/x/[cd].yaml", "none/*.yaml") == {
        ".": {"a*", "a1", "none"},
        "a1": {"x"},
        "a1/x": {"[cd].yaml"},
    }


def test_a_name_is_no_glob(tmp_path: Path) -> None:
    """Brackets in a file's own name mean themselves."""
    assert below(tmp_path, [tmp_path / "a[1].yaml"]) == {".": {"a[[]1].yaml"}}


def test_there_is_a_limit(tmp_path: Path) -> None:
    """A glob over a great tree does not use up what all programs share."""
    for number in range(MAX_DIRECTORIES + 10):
        (tmp_path / str(number)).mkdir()
    assert len(directories([], tmp_path, ["**/*.yaml"])) == MAX_DIRECTORIES
