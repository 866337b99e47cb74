"""Clocks that a test compares: `make test CLOCK=...` shifts its own and those of the programs that it starts.

Servers, and programs that libfaketime does not reach, have the machine's real clock.
"""

from __future__ import annotations

import functools
import os
import subprocess
import time
from collections.abc import Callable

from helper_programs import real_clock

LOOKS = 5  # at a server's clock: the quickest counts


@functools.cache
def shift() -> int:
    """Return the seconds by which this process's clock is ahead of the real one."""
    if "FAKETIME" not in os.environ:
        return 0
    shown = subprocess.run(["date", "+%s"], env=real_clock(), capture_output=True, text=True, check=True)
    return round(time.time() - int(shown.stdout))


def real_time() -> float:
    """Return the real time in Unix seconds."""
    return time.time() - shift()


def ahead(url: str) -> int:
    """Return the seconds by which a PostgreSQL's clock is ahead of this process's; 0 for SQLite, which has none."""
    if not url.startswith("postgresql"):
        return 0
    import psycopg  # here, as few tests need it

    looks: list[tuple[float, float]] = []
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(LOOKS):
            asked = time.time()
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            answered = time.time()
            assert row is not None
            looks.append((answered - asked, float(row[0]) - (asked + answered) / 2))
    return round(min(looks)[1])


def clock_of(url: str) -> Callable[[], float]:
    """Return a clock, in Unix seconds, that shows the time by which a daemon on this store dates."""
    seconds = ahead(url)
    return lambda: time.time() + seconds
