"""Runs a command whose processes all stand still for some seconds, again and again, as on a machine that is overloaded.

    .venv/bin/python tests/rig/standing_still.py .venv/bin/pytest -n 2 tests/follow

It finds the tests that judge by a short time where they could wait for an event. Servers that were running before,
PostgreSQL among them, go on.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

STILL = 2.5  # seconds
BETWEEN = (2.0, 6.0)


def main(command: Sequence[str]) -> int:
    """Return the command's exit code."""
    process = subprocess.Popen(command, process_group=0)
    signal.signal(signal.SIGINT, lambda *_: os.killpg(process.pid, signal.SIGINT))
    while True:
        try:
            return process.wait(random.uniform(*BETWEEN))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGSTOP)
            time.sleep(STILL)
            os.killpg(process.pid, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
