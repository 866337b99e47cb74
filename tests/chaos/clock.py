"""A wall clock that can be set for one process, where libfaketime is installed."""

from __future__ import annotations

from pathlib import Path


def clock_library() -> Path | None:
    """Return the library that lets a process have another clock, where there is one."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def settable(file: Path) -> dict[str, str]:
    """Return the environment of a process whose wall clock, and only that one, follows a file."""
    library = clock_library()
    assert library is not None
    file.write_text("+0s\n")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
