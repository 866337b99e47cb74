"""The cost of the disk under the daemon's database, and the database's contents after a run."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.tally import percentile

SYNCS = 200
PAGE = b"\0" * 4096
MEMORY_FILESYSTEMS = {"tmpfs", "ramfs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The disk that the daemon's database is on."""

    filesystem: str
    durable: bool  # not in memory
    sync_p50_ms: float  # to append 4 KiB and fdatasync it
    sync_p99_ms: float


def measure(directory: Path) -> Disk:
    """Time `fdatasync` in a directory."""
    seconds: list[float] = []
    path = directory / "sync"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        for _ in range(SYNCS):
            start = time.perf_counter()
            os.write(descriptor, PAGE)
            os.fdatasync(descriptor)
            seconds.append(time.perf_counter() - start)
    finally:
        os.close(descriptor)
        path.unlink()
    seconds.sort()
    filesystem = _filesystem(directory)
    return Disk(
        filesystem=filesystem,
        durable=filesystem not in MEMORY_FILESYSTEMS,
        sync_p50_ms=(percentile(seconds, 0.5) or 0.0) * 1000,
        sync_p99_ms=(percentile(seconds, 0.99) or 0.0) * 1000,
    )


def rows(database: Path) -> dict[str, int]:
    """Count the rows of every table, after the daemon has ended."""
    with closing(sqlite3.connect(database)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in sorted(tables)}


def _filesystem(directory: Path) -> str:
    """Name the filesystem of a directory, from the longest mount point above it."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines())
    resolved = directory.resolve()
    above = [(len(point), kind) for _, point, kind, *_ in mounts if resolved.is_relative_to(point)]
    return max(above)[1] if above else "unknown"
