"""Tells when something may have changed at places of the file system: a name in a directory, or what fits a glob.

A hint and no more: where the kernel tells nothing, nothing is told. The library's thread is the only one that waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

import structlog

from notifier.runtime.threads import beside

log = structlog.get_logger(__name__)

STEP = 100  # milliseconds between the thread's looks at what the kernel told: no more delay than a person notices
GATHER = 400  # milliseconds of changes without pause that are told as one
MAX_LINKS = 40  # on the way to one file; as the kernel has it (path_resolution(7))
MAX_DIRECTORIES = 1000  # listened at; the kernel's own limits are for all programs together (inotify(7))
END = 2.0  # seconds for the thread to end


@dataclass(frozen=True, slots=True)
class Place:
    """A directory as it is now: one that takes its name later is another."""

    device: int
    inode: int
    names: frozenset[str]  # patterns of what matters in it


Places = Mapping[str, Place]  # by path, without links on the way


class Notices:
    """Listens at places, in a thread that is exchanged when they change."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._places: Places = {}
        self._end = threading.Event()
        self._threads: set[asyncio.Future[None]] = set()
        self._failed = False  # and said so

    def listen(self, places: Places) -> bool:
        """Listen at these places and no others; say whether any is new."""
        if places == self._places:
            return False
        self._places = places
        self._end.set()
        self._end = end = threading.Event()
        if places:
            loop = asyncio.get_running_loop()
            thread = beside(lambda: _listen(places, end, lambda: _call(loop, self._tell)), name="listen for changes")
            self._threads.add(thread)
            thread.add_done_callback(self._ended)
        return bool(places)

    async def stop(self) -> None:
        """Listen no more; return once the thread has ended, as it should not outlive the interpreter."""
        self._end.set()
        if self._threads:
            await asyncio.wait(self._threads, timeout=END)

    def _ended(self, thread: asyncio.Future[None]) -> None:
        self._threads.discard(thread)
        fault = None if thread.cancelled() else thread.exception()
        if fault is not None and not self._failed:
            self._failed = True
            log.warning("files.no_notices", error=str(fault), hint="changes are found all the same, some seconds later")


def places(paths: Iterable[Path], directory: Path, patterns: Iterable[str]) -> Places:
    """Return where a change may alter what the paths lead to, or which files the globs, from `directory` on, stand for.

    That is every step of the way: a link may be turned, a directory come into being, vanish, or be exchanged.
    """
    found: dict[str, set[str]] = {}
    for path in paths:
        _trail(os.path.abspath(path), found)
    for pattern in patterns:
        parts = Path(os.path.abspath(directory / pattern)).parts
        literal = next((n for n, part in enumerate(parts) if glob.has_magic(part)), len(parts))
        start = _trail(os.path.join(*parts[:literal]), found)
        if start is not None:
            _spread(start, parts[literal:], found)
    return dict(list(_listed(found))[:MAX_DIRECTORIES])


def _trail(path: str, found: dict[str, set[str]]) -> str | None:
    """Add each directory entry that decides what an absolute path leads to; return that without links, if it exists."""
    at, todo, links = "/", [part for part in reversed(path.split("/")) if part], 0
    while todo:
        name = todo.pop()
        if name == "..":
            at = os.path.dirname(at)
            continue
        found.setdefault(at, set()).add(glob.escape(name))
        step = os.path.join(at, name)
        try:
            target = os.readlink(step)
        except OSError:  # no link, or nothing at all
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


def _spread(directory: str, parts: tuple[str, ...], found: dict[str, set[str]]) -> None:
    """Add the directories in which the rest of a glob may come to fit something."""
    if not parts or len(found) >= MAX_DIRECTORIES or not os.path.isdir(directory):
        return
    name, rest = parts[0], parts[1:]
    found.setdefault(directory, set()).add("*" if name == "**" else name)
    if name == "**":
        _spread(directory, rest, found)
    for entry in _directories(directory, links=name != "**") if rest or name == "**" else ():  # links may go round
        if name == "**" or re.fullmatch(translate(name), entry):
            step = _trail(os.path.join(directory, entry), found)
            if step is not None:
                _spread(step, parts if name == "**" else rest, found)


def _directories(directory: str, *, links: bool) -> Iterator[str]:
    try:
        with os.scandir(directory) as entries:
            yield from (entry.name for entry in entries if entry.is_dir(follow_symlinks=links))
    except OSError:  # it has just vanished, or may not be read
        return


def _listed(found: Mapping[str, set[str]]) -> Iterator[tuple[str, Place]]:
    for where, names in found.items():
        try:
            status = os.stat(where)
        except OSError:  # it has just vanished
            continue
        if os.access(where, os.R_OK):  # or else nothing is told of it
            yield where, Place(status.st_dev, status.st_ino, frozenset(names))


def _listen(places: Places, end: threading.Event, tell: Callable[[], None]) -> None:
    # Lazily, for it brings another library of event loops along, which only they shall load who use it.
    from watchfiles import Change, watch

    fitting = {where: re.compile("|".join(map(translate, sorted(place.names)))) for where, place in places.items()}

    def concerns(_: Change, path: str) -> bool:
        where, name = os.path.split(path)
        return where in fitting and fitting[where].match(name) is not None

    for _ in watch(
        *places, watch_filter=concerns, debounce=GATHER, step=STEP, stop_event=end, rust_timeout=0, recursive=False
    ):
        tell()


def _call(loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(tell)
