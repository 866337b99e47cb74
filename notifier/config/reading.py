"""What a configuration was read from: which files, and by their digests what was in them, so that a change is noticed.

A digest is taken just before its file is used. What changes in between is a change, then, and nothing is missed.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 32 * 1024 * 1024  # of a file: a hundred thousand watches with labels; more is a mistake or has no end


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes, as a rule, when a file does; it costs no reading."""

    device: int
    inode: int
    size: int
    modified: int  # nanoseconds
    changed: int  # nanoseconds, of the inode


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All that one try to load a configuration has read, whether it succeeded or not."""

    path: Path  # the configuration itself
    patterns: tuple[str, ...] = ()  # globs of further files, from its directory on
    # Digests; None: it cannot be read. What is in the files makes no other configuration of the same text.
    files: Mapping[Path, str | None] = field(default_factory=dict, repr=False, compare=False)

    def now(self) -> dict[Path, str | None]:
        """Return what `files` would be if all was read again."""
        return {path: digest(path) for path in self._paths()}

    def stamps(self) -> dict[Path, Stamp | None]:
        """Return the stamp of each file that would be read; None for one that is not there."""
        return {path: _stamp(path) for path in self._paths()}

    def _paths(self) -> Iterable[Path]:
        return dict.fromkeys([*self.files, *watch_files(self.path, self.patterns)])


def matching(path: Path, pattern: str) -> list[Path]:
    """List the files that a glob of the configuration at `path` stands for."""
    found = sorted(glob.glob(pattern, root_dir=path.parent, recursive=True))
    return [file for file in (path.parent / name for name in found) if file.is_file()]


def watch_files(path: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """List the files that the globs stand for, each once, without the configuration itself."""
    seen = {path.resolve()}
    for pattern in patterns:
        for file in matching(path, pattern):
            if (real := file.resolve()) not in seen:
                seen.add(real)
                yield file


def digest(path: Path) -> str | None:
    """Return a digest of a file's contents; None for what is no regular file, or cannot be read."""
    try:
        if not path.is_file():  # a pipe might never begin, and is empty the second time
            return None
        with path.open("rb") as stream:
            return hashlib.sha256(stream.read(MAX_BYTES + 1)).hexdigest()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
