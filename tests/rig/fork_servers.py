"""Starts servers that start processes by fork. Each lives as long as the tests do."""

from __future__ import annotations

import atexit
import functools
import os
import socket
import subprocess
import sys
from pathlib import Path


@functools.cache
def fork_server(program: Path) -> socket.socket:
    """Start the server that a program is, once, and return the socket for requests to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # It is not measured itself, and would hand that on.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
    with theirs:
        process = subprocess.Popen([sys.executable, program, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=env)

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours
