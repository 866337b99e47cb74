"""Lets Python sleep under faketime, which refuses its clock_nanosleep (EINVAL) where the monotonic clock is left alone.

`make test CLOCK=...` puts this directory on PYTHONPATH, so that every Python process of the run has it.
"""

from __future__ import annotations

import select
import time


def sleep(seconds: float, /) -> None:
    """Sleep as time.sleep does, by another system call."""
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        select.select([], [], [], left)


time.sleep = sleep  # type: ignore[assignment]  # its own takes any number
