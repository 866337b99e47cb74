"""A configuration remembers what it was read from, by contents, whether it could be used or not."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from config_site import Site

from notifier.config import ConfigError, load
from notifier.config.reading import MAX_BYTES, Reading, digest, loss, read_bytes

SOURCE = "sources: {s: {preset: vidu, token: {file: token}}}\n"


@pytest.fixture
def reading(site: Site) -> Reading:
    """Return what a configuration with a secret and watch files was read from."""
    site.write("t0p", "token")
    site.write("[a]", "w.d/a.yaml")
    return site.load(f"{SOURCE}watches: [b]\nwatch_files: ['w.d/*.yaml']\n").reading


def test_nothing_has_changed(reading: Reading, site: Site) -> None:
    """Read again, it is the same; files that no glob fits do not count."""
    assert [path.name for path in reading.files] == ["config.yaml", "a.yaml", "token"]
    site.write("x", "w.d/a.txt")
    assert reading.now() == reading.files
    assert reading.stamps().keys() == reading.files.keys()


@pytest.mark.parametrize("name", ["config.yaml", "w.d/a.yaml", "w.d/new.yaml", "token"])
def test_a_change_is_seen(reading: Reading, site: Site, name: str) -> None:
    """Other contents, of a file of any kind, and a new file that fits a glob."""
    before = reading.stamps()
    site.write("[another]", name)
    assert reading.now() != reading.files
    assert reading.stamps() != before


def test_a_file_that_is_gone_is_a_change(reading: Reading, site: Site) -> None:
    """It has neither contents nor stamp."""
    path = site.directory / "w.d/a.yaml"
    path.unlink()
    assert reading.now()[path] is None
    assert reading.stamps()[path] is None
    assert reading.files[path] is not None


def test_a_touch_is_seen_by_the_stamp_alone(reading: Reading, site: Site) -> None:
    """Contents decide."""
    before = reading.stamps()
    site.write("t0p", "token")
    assert reading.stamps() != before
    assert reading.now() == reading.files


def test_a_refusal_tells_what_was_read(site: Site) -> None:
    """The file that is missing, too: it may come."""
    with pytest.raises(ConfigError) as caught:
        load(site.write(f"{SOURCE}watch_files: ['w.d/*.yaml']\n"), env={})
    reading = caught.value.reading
    assert reading is not None
    assert reading.patterns == ("w.d/*.yaml",)
    assert reading.files[site.directory / "token"] is None
    site.write("t0p", "token")
    assert reading.now() != reading.files


def test_pipes_are_not_read(site: Site) -> None:
    """They might never begin; nor is there an end to what is read of a file."""
    os.mkfifo(site.directory / "pipe")
    assert digest(site.directory / "pipe") is None
    assert digest(site.directory / "a\0b") is None
    large = site.write(b"x", "large")
    os.truncate(large, MAX_BYTES + 10)
    assert digest(large) is not None


def test_renewed_authorities_make_another_source(site: Site) -> None:
    """A file of certificates is exchanged under its name; the source is not equal to itself before."""
    import trustme

    def load_with(authority: trustme.CA) -> object:
        site.write(authority.cert_pem.bytes(), "ca.pem")
        return site.load("sources: {s: {preset: vidu, ca_file: ca.pem}}").sources["s"]

    first, second = trustme.CA(), trustme.CA()
    assert load_with(first) == load_with(first)
    assert load_with(first) != load_with(second)


LOST = 'sources: {s: {preset: vidu, token: t}}\nwatches: [x]\nwatch_files: ["w.d/*.yaml", "vol/*.yaml"]\n'


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(path.parent, os.O_PATH)
        listener.bind(f"/proc/self/fd/{here}/{path.name}")  # a path in full may be too long for a socket
        os.close(here)


def _zero(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.yaml")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _under_a_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("")


def _dangling_folder(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.symlink_to("nowhere")


def _ring(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.symlink_to(path.parent)


WAYS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a named pipe": (_fifo, "it is a named pipe, not a regular file"),
    "a loop of links": (_loop, "Too many levels of symbolic links"),
    "a socket": (_socket, "it is a socket, not a regular file"),
    "a device without an end": (_zero, "it is a device, not a regular file"),
    "a dangling link": (_dangling, "the target of the link"),
    "a folder": (_folder, "it is a folder, not a regular file"),
}
FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a file for a folder": (_under_a_file, "Not a directory"),
    "a dangling link for the folder": (_dangling_folder, "the target of the link"),
    "a loop of links for the folder": (_ring, "Too many levels of symbolic links"),
}


@pytest.mark.parametrize("pattern", ["w.d/*.yaml", "w.d/a.yaml", "w?d/**/*.yaml"])
@pytest.mark.parametrize("way", WAYS)
def test_a_watch_file_that_cannot_be_read_is_a_mistake(site: Site, way: str, pattern: str) -> None:
    """Its watches would be removed otherwise: by a start, which knows of no earlier reading, as by a reload."""
    path = site.write("[a]", "w.d/a.yaml")
    site.write("[b]", "vol/b.yaml")  # another one that matches says nothing about it
    text = LOST.replace("w.d/*.yaml", pattern)
    before = site.load(text).reading
    change, message = WAYS[way]
    change(path)
    for reading in (None, before):
        with pytest.raises(ConfigError) as caught:
            load(site.path, env={}, before=reading)
        said = [str(problem) for problem in caught.value.problems]
        assert any(f"{path}: cannot be read: " in each and message in each for each in said), said
        assert caught.value.reading is not None
        assert caught.value.reading.files[path] is None
    if "*" in pattern:
        path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
        assert [watch.id for watch in site.load(text).watches] == ["x", "b"]


@pytest.mark.parametrize("pattern", ["w.d/*.yaml", "w.d/*", "w.d/?/*.yaml"])
@pytest.mark.parametrize("way", FOLDERS)
def test_a_folder_of_watch_files_that_cannot_be_searched_is_a_mistake(site: Site, way: str, pattern: str) -> None:
    """It is told once, at the glob, however many files it held. Back again, they are read."""
    for name in ("w.d/a.yaml", "w.d/c.yaml", "w.d/e/e.yaml"):
        site.write(f"[{name[-6]}]", name)
    text = LOST.replace("w.d/*.yaml", pattern)
    before = site.load(text).reading
    saved = site.directory / "saved"
    shutil.copytree(site.directory / "w.d", saved)
    change, message = FOLDERS[way]
    change(site.directory / "w.d/a.yaml")
    for reading in (None, before):
        with pytest.raises(ConfigError) as caught:
            load(site.path, env={}, before=reading)
        [problem] = caught.value.problems
        assert (problem.file, problem.line, problem.key) == (str(site.path), 3, "watch_files[0]")
        assert problem.message.startswith(f"{site.directory}/w.d cannot be searched: {message}")
    (site.directory / "w.d").unlink()
    saved.rename(site.directory / "w.d")
    assert caught.value.reading is not None
    assert caught.value.reading.now() != caught.value.reading.files
    assert load(site.path, env={}).watches == load(site.path, env={}, before=before).watches


@pytest.mark.parametrize("pattern", ["w.d/*/*.yaml", "w.d/**/*.yaml"])
def test_a_link_to_a_lost_folder_below_a_glob_is_a_mistake(site: Site, pattern: str) -> None:
    """It may have led to watch files. A ring of links is none, where every folder is searched."""
    site.write("[a]", "w.d/team/a.yaml")
    (site.directory / "w.d/ring").symlink_to(".")
    text = LOST.replace("w.d/*.yaml", pattern)
    assert [watch.id for watch in site.load(text).watches] == ["x", "a"]
    (site.directory / "w.d/far").symlink_to("gone")
    [said] = site.said(text)
    assert said.startswith("config.yaml:3:")
    assert "w.d/far cannot be searched: the target of the link" in said


def test_a_folder_beside_watch_files_is_no_mistake(site: Site) -> None:
    """A glob that fits any name means the files; one with an ending never meant a folder."""
    site.write("[a]", "w.d/a.yaml")
    site.write("[b]", "w.d/old.yaml/b.yaml")
    for pattern in ("w.d/*", "w.d/*.*", "w.d/**", "w.?/*"):
        assert "a" in [watch.id for watch in site.load(LOST.replace("w.d/*.yaml", pattern)).watches]
    [said] = site.said(LOST)
    assert "w.d/old.yaml: cannot be read: it is a folder, not a regular file; delete it" in said.replace(
        str(site.directory), ""
    )


def test_a_watch_file_that_is_deleted_is_a_removal(site: Site) -> None:
    """Alone, or with its whole folder, or because its pattern is gone."""
    path = site.write("[a]", "w.d/a.yaml")
    before = site.load(LOST).reading
    path.unlink()
    assert [watch.id for watch in load(site.path, env={}, before=before).watches] == ["x"]
    path.parent.rmdir()
    assert [watch.id for watch in load(site.path, env={}, before=before).watches] == ["x"]
    path.parent.symlink_to("nowhere")
    site.write(LOST.replace("w.d", "v.d"), "config.yaml")
    assert [watch.id for watch in load(site.path, env={}, before=before).watches] == ["x"]


def test_a_file_system_that_is_no_longer_mounted_refuses_the_reload(site: Site) -> None:
    """The folder is there, and empty: of another file system than before."""
    path = site.write("[a]", "vol/a.yaml")
    before = site.load(LOST).reading
    file = before.watch_files[path]
    path.unlink()
    assert loss(path, file) is None
    elsewhere = replace(file, device=file.device + 1)
    assert f"no longer mounted at {path.parent}" in str(loss(path, elsewhere))
    with pytest.raises(ConfigError, match="no longer mounted"):
        load(site.path, env={}, before=replace(before, watch_files={path: elsewhere}))


def test_files_are_compared_with_the_configuration_in_force(site: Site) -> None:
    """What was lost, and is back, is read again."""
    path = site.write("[a]", "w.d/a.yaml")
    before = site.load(LOST).reading
    _fifo(path)
    with pytest.raises(ConfigError):
        load(site.path, env={}, before=before)
    path.unlink()
    site.write("[a, b]", "w.d/a.yaml")
    assert [watch.id for watch in load(site.path, env={}, before=before).watches] == ["x", "a", "b"]


def test_a_pipe_is_waited_for_until_a_file_takes_its_place(site: Site) -> None:
    """A reader that waits for a writer notices that the pipe is gone; nothing else would ever wake it."""
    os.mkfifo(site.path)
    contents: list[bytes] = []
    reader = threading.Thread(target=lambda: contents.append(read_bytes(site.path, 100, pipes=True)), daemon=True)
    reader.start()
    while True:  # until the reader has opened it: before that, a writer is refused (fifo(7))
        try:
            writer = os.open(site.path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert reader.is_alive()
            time.sleep(0.01)
        else:
            break
    new = site.write("loop: asyncio\n", "new.yaml")
    new.replace(site.path)
    reader.join(60)
    os.close(writer)
    assert contents == [b"loop: asyncio\n"]


def test_a_pipe_is_read_to_its_end_and_no_further_than_the_limit(site: Site) -> None:
    """In as many parts as it is written; an endless one ends at the limit."""
    os.mkfifo(site.path)
    for parts, content in (([b"a", b"b" * 10], b"a" + b"b" * 10), ([b"x" * 100] * 9, b"x" * 101)):
        writer = threading.Thread(target=_write, args=(site.path, parts), daemon=True)
        writer.start()
        assert read_bytes(site.path, 100, pipes=True) == content
        writer.join(60)


def _write(path: Path, parts: list[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError), path.open("wb", buffering=0) as stream:
        for part in parts:
            stream.write(part)


@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "/dev/null", "/"])
def test_only_regular_files_are_read_where_no_pipe_is_expected(site: Site, name: str) -> None:
    """At once, and without opening what would block."""
    os.mkfifo(site.directory / "pipe")
    with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
        read_bytes(site.directory / name, 100, pipes=False)
