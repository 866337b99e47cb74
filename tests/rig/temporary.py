"""Prints where the temporary files of a run of all tests are best: in memory where there is room for them.

A commit waits for the disk, for milliseconds, and the tests make tens of thousands of them. None of them is about the
disk itself: the power is cut, and the disk filled, in places of their own.
"""

from __future__ import annotations

import os
import tempfile

MEMORY = "/dev/shm"
ROOM = 4 << 30  # bytes: the files of what runs at a time, and of what failed


def best() -> str:
    """Return the directory; one from which no program may be run, as in containers, is none."""
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return tempfile.gettempdir()
    found = os.statvfs(MEMORY)
    if found.f_flag & os.ST_NOEXEC or found.f_bavail * found.f_frsize < ROOM:
        return tempfile.gettempdir()
    return MEMORY


if __name__ == "__main__":
    print(best())
