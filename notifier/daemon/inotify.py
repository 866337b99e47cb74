"""Reports that files in directories may have changed: files of a given name, or files that match a glob.

A report is only a hint. Where the kernel reports nothing, as on network file systems, this module reports nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

import structlog

from notifier.runtime.threads import NoThread, beside
from notifier.runtime.wake import Wake

log = structlog.get_logger(__name__)

STEP = 100  # milliseconds between the thread's looks at the kernel's events: too short for a person to notice
GATHER = 400  # milliseconds of continuous changes that are reported as one
MAX_LINKS = 40  # symbolic links on the way to one file; the kernel's own limit (path_resolution(7))
MAX_DIRECTORIES = 1000  # watched; the kernel's limits hold for all programs of a user together (inotify(7))
END = 2.0  # seconds for the thread to end


@dataclass(frozen=True, slots=True)
class WatchedDirectory:
    """A directory as it is now. A directory that takes over its path later is another one."""

    device: int
    inode: int
    names: frozenset[str]  # patterns of the entries to report


Directories = Mapping[str, WatchedDirectory]  # by path, without links on the way


class ChangeListener:
    """Watches directories in a thread. New directories get a new thread."""

    def __init__(self, changed: Wake) -> None:
        """Set `changed`, on the loop, for each reported change."""
        self._changed = changed
        self._directories: Directories = {}
        self._end = threading.Event()
        self._threads: set[asyncio.Future[None]] = set()
        self._failed = False  # a failure was logged

    def watch(self, directories: Directories) -> bool:
        """Watch these directories and no others; return whether a new thread was started for them."""
        if directories == self._directories:
            return False
        self._directories = directories
        self._end.set()
        self._end = end = threading.Event()
        if directories:
            loop = asyncio.get_running_loop()
            thread = beside(lambda: _listen(directories, end, loop, self._changed), name="file changes")
            self._threads.add(thread)
            thread.add_done_callback(self._ended)
        return bool(directories)

    async def stop(self) -> None:
        """Watch nothing more; return once the thread has ended, since it must not outlive the interpreter."""
        self._end.set()
        if self._threads:
            await asyncio.wait(self._threads, timeout=END)

    def _ended(self, thread: asyncio.Future[None]) -> None:
        self._threads.discard(thread)
        fault = None if thread.cancelled() else thread.exception()
        if isinstance(fault, NoThread):
            self._directories = {}  # so that the next look asks for a thread again
        if fault is not None and not self._failed:
            self._failed = True
            log.warning("files.no_notices", error=str(fault), hint="changes are still found, some seconds later")


def directories(paths: Iterable[Path], directory: Path, patterns: Iterable[str]) -> Directories:
    """Return the directories in which a change may alter the files of the paths, or the files that match the globs.

    Globs are relative to `directory`. Every step of the way counts, since a link may be changed, and a directory may
    be created, deleted or replaced.
    """
    names: dict[str, set[str]] = {}
    for path in paths:
        _trail(os.path.abspath(path), names)
    for pattern in patterns:
        parts = Path(os.path.abspath(directory / pattern)).parts
        literal = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
        start = _trail(os.path.join(*parts[:literal]), names)
        if start is not None:
            _spread(start, parts[literal:], names)
    return dict(list(_readable(names))[:MAX_DIRECTORIES])


def _trail(path: str, names: dict[str, set[str]]) -> str | None:
    """Add each directory entry on the way of an absolute path; return the path without links, if it exists."""
    at, todo, links = "/", [part for part in reversed(path.split("/")) if part], 0
    while todo:
        name = todo.pop()
        if name == "..":
            at = os.path.dirname(at)
            continue
        names.setdefault(at, set()).add(glob.escape(name))
        step = os.path.join(at, name)
        try:
            target = os.readlink(step)
        except OSError:  # no link, or no such entry
            if not os.path.lexists(step):
                return None
            at = step
            continue
        links += 1
        if links > MAX_LINKS:
            return None
        at = "/" if target.startswith("/") else at
        todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return at


def _spread(directory: str, parts: tuple[str, ...], names: dict[str, set[str]]) -> None:
    """Add the directories in which an entry may match the rest of a glob, now or later."""
    if not parts or len(names) >= MAX_DIRECTORIES or not os.path.isdir(directory):
        return
    name, rest = parts[0], parts[1:]
    names.setdefault(directory, set()).add("*" if name == "**" else name)
    if name == "**":
        _spread(directory, rest, names)
    if not rest and name != "**":
        return
    for entry in _directories(directory, links=name != "**"):  # links may form a ring
        if name == "**" or re.fullmatch(translate(name), entry):
            step = _trail(os.path.join(directory, entry), names)
            if step is not None:
                _spread(step, parts if name == "**" else rest, names)


def _directories(directory: str, *, links: bool) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            yield from (entry.name for entry in entries if entry.is_dir(follow_symlinks=links))
    except OSError:  # the directory has just vanished, or may not be read
        return


def _readable(names: Mapping[str, set[str]]) -> Iterator[tuple[str, WatchedDirectory]]:
    for path, patterns in names.items():
        try:
            status = os.stat(path)
        except OSError:  # the directory has just vanished
            continue
        if os.access(path, os.R_OK):  # the kernel reports nothing about the others
            yield path, WatchedDirectory(status.st_dev, status.st_ino, frozenset(patterns))


def _listen(directories: Directories, end: threading.Event, loop: asyncio.AbstractEventLoop, changed: Wake) -> None:
    # Imported here, since the library loads a second event loop library, which only `reload_on_change` needs.
    from watchfiles import Change, watch

    patterns = {path: re.compile("|".join(map(translate, sorted(each.names)))) for path, each in directories.items()}

    def matches(_: Change, path: str) -> bool:
        directory, name = os.path.split(path)
        return directory in patterns and patterns[directory].match(name) is not None

    for _ in watch(
        *directories, watch_filter=matches, debounce=GATHER, step=STEP, stop_event=end, rust_timeout=0, recursive=False
    ):
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody waits for the report
            loop.call_soon_threadsafe(changed.set)
