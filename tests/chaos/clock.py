"""A wall clock that can be set for one process, where libfaketime is installed."""

from __future__ import annotations

import os
from pathlib import Path

from clocks import shift

SHIFTED = Path(__file__).parents[1] / "rig" / "shifted_clock"  # lets Python sleep under faketime


def clock_library() -> Path | None:
    """Return the library that lets a process have another clock, where there is one."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def settable(file: Path) -> dict[str, str]:
    """Return the environment of a process whose wall clock, and only that one, follows a file."""
    library = clock_library()
    assert library is not None
    file.write_text(f"{shift():+d}s\n")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Python waits for its interpreter's lock by the monotonic clock. Shifted, that wait ends at once: threads take
        # the lock from each other without end.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(SHIFTED), os.environ.get("PYTHONPATH")))),
    }
