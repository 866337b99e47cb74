"""Runs all tests with fast commits: temporary files are in memory, and PostgreSQL is their own.

A commit waits for the disk, for milliseconds, and the tests make tens of thousands of them. None of them is about the
disk itself: the power is cut, and the disk filled, in places of their own. NOTIFIER_TEST_POSTGRES and TMPDIR, where
they are set, are left as they are.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack

from servers import Server, programs

MEMORY = "/dev/shm"
ROOM = 4 << 30  # bytes: the files of what runs at a time, and of what failed
SHARED = {"max_connections": "300", "shared_buffers": "128MB"}  # by all processes of the run


def directory() -> str:
    """Return the directory for temporary files. Memory will not do if no program may run from it, as in containers."""
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return tempfile.gettempdir()
    found = os.statvfs(MEMORY)
    if found.f_flag & os.ST_NOEXEC or found.f_bavail * found.f_frsize < ROOM:
        return tempfile.gettempdir()
    return MEMORY


def main(command: Sequence[str]) -> int:
    """Return the command's exit code."""
    os.environ["TMPDIR"] = tempfile.tempdir = directory()
    with ExitStack() as stack:
        if "NOTIFIER_TEST_POSTGRES" not in os.environ and programs() is not None:
            server = Server(settings=SHARED)
            stack.callback(server.remove)
            server.start()
            os.environ["NOTIFIER_TEST_POSTGRES"] = server.url("")
        signal.signal(signal.SIGINT, lambda *_: None)  # which the command gets as well, from the terminal
        process = subprocess.Popen(command)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
