"""The files that a configuration was read from, and digests of their contents, which show changes.

A digest is taken just before its file is read. A change in between therefore counts as a change, and none is missed.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 32 * 1024 * 1024  # of a file: a hundred thousand watches with labels; a larger one is a mistake


@dataclass(frozen=True, slots=True)
class Stamp:
    """The properties that usually change with a file's contents, without reading it."""

    device: int
    inode: int
    size: int
    modified: int  # nanoseconds
    changed: int  # nanoseconds, of the inode


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The files that one attempt to load a configuration has read, successful or not."""

    path: Path  # the configuration itself
    patterns: tuple[str, ...] = ()  # globs of further files, relative to its directory
    # Digests; None: it cannot be read. Two readings of the same text are equal, whatever the files hold.
    files: Mapping[Path, str | None] = field(default_factory=dict, repr=False, compare=False)

    def now(self) -> dict[Path, str | None]:
        """Return what `files` would be after reading again."""
        return {path: digest(path) for path in self._paths()}

    def stamps(self) -> dict[Path, Stamp | None]:
        """Return the stamp of each file that would be read; None for a missing file."""
        return {path: _stamp(path) for path in self._paths()}

    def _paths(self) -> Iterable[Path]:
        return dict.fromkeys([*self.files, *watch_files(self.path, self.patterns)])


def matching(path: Path, pattern: str) -> list[Path]:
    """List the files that match a glob of the configuration at `path`."""
    names = sorted(glob.glob(pattern, root_dir=path.parent, recursive=True))
    return [file for file in (path.parent / name for name in names) if file.is_file()]


def watch_files(path: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """List the files that match the globs, each once, without the configuration itself."""
    seen = {path.resolve()}
    for pattern in patterns:
        for file in matching(path, pattern):
            if (real := file.resolve()) not in seen:
                seen.add(real)
                yield file


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
