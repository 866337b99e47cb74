"""The files that a configuration was read from, and digests of their contents, which show changes.

A digest is taken just before its file is read. A change in between therefore counts as a change, and none is missed.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import os
import select
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 32 * 1024 * 1024  # of a file: a hundred thousand watches with labels; a larger one is a mistake
EMPTY = hashlib.sha256().hexdigest()  # the digest of a file without contents
LOOK_AGAIN = 200  # milliseconds between looks at the path of a pipe without a writer


@dataclass(frozen=True, slots=True)
class Stamp:
    """The properties that usually change with a file's contents, without reading it."""

    device: int
    inode: int
    size: int
    modified: int  # nanoseconds
    changed: int  # nanoseconds, of the inode


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchFile:
    """How a watch file was found."""

    pattern: str
    device: int  # of the file system that holds its folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The files that one attempt to load a configuration has read, successful or not."""

    path: Path  # the configuration itself
    patterns: tuple[str, ...] = ()  # globs of further files, relative to its directory
    # Digests; None: it cannot be read. Two readings of the same text are equal, whatever the files hold.
    files: Mapping[Path, str | None] = field(default_factory=dict, repr=False, compare=False)
    watch_files: Mapping[Path, WatchFile] = field(default_factory=dict, repr=False, compare=False)

    def now(self) -> dict[Path, str | None]:
        """Return `files` as they would be after reading again."""
        return {path: digest(path) for path in self._paths()}

    def stamps(self) -> dict[Path, Stamp | None]:
        """Return the stamp of each file that would be read; None for a missing file."""
        return {path: _stamp(path) for path in self._paths()}

    def lost(self) -> set[Path]:
        """Return the files that had contents when they were read, and are now missing or empty."""
        full = (path for path, found in self.files.items() if found not in (None, EMPTY))
        return {path for path in full if (stamp := _stamp(path)) is None or not stamp.size}

    def _paths(self) -> Iterable[Path]:
        return dict.fromkeys([*self.files, *(file for file, _ in watch_files(self.path, self.patterns))])


def matching(path: Path, pattern: str) -> list[Path]:
    """List the names that fit a glob of the configuration at `path`; `fault` says which of them are no files.

    Folders are left out where the glob fits any name, as `w.d/*` does: it means the files beside them.
    """
    names = sorted(glob.glob(pattern, root_dir=path.parent, recursive=True))
    files = [path.parent / name for name in names]
    ending = os.path.splitext(os.path.basename(pattern))[1].strip("*?.")
    return files if ending or not glob.has_magic(pattern) else [file for file in files if not os.path.isdir(file)]


def obstacle(path: Path, pattern: str) -> tuple[Path, str] | None:
    """Return a folder that a glob of the configuration at `path` cannot search, and why; None if there is none.

    A folder that is not there holds no files. A link to one that is not there may have held some.
    """
    folder = os.path.dirname(pattern)
    while glob.has_magic(folder):
        for name in sorted(glob.glob(folder, root_dir=path.parent, recursive=True)):
            if (reason := _dangling(path.parent / name)) is not None:
                return path.parent / name, reason
        folder = os.path.dirname(folder)
    base = path.parent / folder
    try:
        os.scandir(base).close()
    except OSError as exc:
        reason = _dangling(base) if isinstance(exc, FileNotFoundError) else exc.strerror or str(exc)
        return None if reason is None else (base, reason)
    return None


def awaits(path: Path, pattern: str) -> bool:
    """Return whether a glob of the configuration at `path` is for a directory that is there, and empty as yet."""
    directory = os.path.dirname(pattern)
    if not directory or glob.has_magic(directory):
        return False
    try:
        return not os.listdir(path.parent / directory)
    except OSError:
        return False


def watch_files(path: Path, patterns: Iterable[str]) -> Iterator[tuple[Path, str]]:
    """List the files that match the globs, each once and with its glob, without the configuration itself."""
    seen = {os.path.realpath(path)}
    for pattern in patterns:
        for file in matching(path, pattern):
            if (real := os.path.realpath(file)) not in seen:  # `Path.resolve` raises for a loop of links
                seen.add(real)
                yield file, pattern


def found_by(pattern: str, file: Path) -> WatchFile:
    """Describe how a watch file was found. Raises OSError."""
    return WatchFile(pattern=pattern, device=file.parent.stat().st_dev)


def fault(file: Path) -> str | None:
    """Return why a name is no regular file; None if it is one, or if there is nothing of that name."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        return _dangling(file)
    except OSError as exc:
        return exc.strerror or str(exc)
    return None if stat.S_ISREG(mode) else f"it is {_kind(mode)}, not a regular file"


def loss(file: Path, before: WatchFile) -> str | None:
    """Return why a watch file of an earlier reading cannot be read any more; None if it was deleted."""
    if (reason := fault(file)) is not None:
        return reason
    if file.exists():
        return None if os.access(file.parent, os.R_OK) else "its folder cannot be listed"
    folder = next(folder for folder in file.parents if folder.exists())
    if folder.stat().st_dev != before.device:
        return f"the file system that held it is no longer mounted at {folder}"
    return None


def _dangling(path: Path) -> str | None:
    """Return which link, on the way to a path or itself, leads nowhere; None if there is no such link."""
    for each in (path, *path.parents):
        try:
            each.stat()
        except FileNotFoundError:
            if each.is_symlink():
                return f"the target of the link {each} is missing"
        except OSError:
            return None  # a loop, or a folder that may not be entered
        else:
            return None
    return None


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def read_bytes(path: Path, limit: int, *, pipes: bool) -> bytes:
    """Read a file to its end, or `limit` + 1 bytes; with `pipes`, also a pipe or a device. Raises OSError.

    A named pipe is waited for until there is a writer, or until another file has taken its place.
    """
    while True:
        with open(path, "rb", buffering=0, opener=_open) as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if not pipes and not stat.S_ISREG(mode):
                raise OSError(errno.EINVAL, "not a regular file")
            if not stat.S_ISFIFO(mode):
                os.set_blocking(stream.fileno(), True)
                return _read(stream, limit)
            content = _read_pipe(stream, path, limit)
        if content is not None:
            return content


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _read(stream: io.FileIO, limit: int) -> bytes:
    content = bytearray()
    while len(content) <= limit and (part := stream.read(limit + 1 - len(content))):
        content += part
    return bytes(content)


def _read_pipe(stream: io.FileIO, path: Path, limit: int) -> bytes | None:
    """Read a pipe to its end; None if its path has become another file before a writer came."""
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    content = bytearray()
    while len(content) <= limit:
        if not poll.poll(LOOK_AGAIN):
            if not content and _replaced(stream, path):
                return None
            continue
        part = stream.read(limit + 1 - len(content))
        if part == b"":
            break
        content += part or b""  # None: another process was faster
    return bytes(content)


def _replaced(stream: io.FileIO, path: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return True


def digest(path: Path) -> str | None:
    """Return a digest of a file's contents; None if it is no regular file or cannot be read."""
    try:
        if not path.is_file():  # a pipe may block for ever, and is empty the second time
            return None
        with path.open("rb") as stream:
            return hashlib.sha256(stream.read(MAX_BYTES + 1)).hexdigest()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None


def _stamp(path: Path) -> Stamp | None:
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None
    return Stamp(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
