"""The calls that a change costs the event loop's thread, by room: `python -m bench.where`. Counts, no seconds.

The daemon runs twice under cProfile, with few changes and with many, and the difference is what the changes cost: its
start and its end cancel out. What a library does counts for itself; a built-in function for the room that calls it. Of
the constructors that dataclasses and named tuples make at import, the file of cProfile keeps a part.
"""

from __future__ import annotations

import argparse
import pstats
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import job
from bench.child import ROOT, BenchError
from bench.timeline import CHANGES

STREAMS, FEW, MANY = 200, 40, 200  # open, and playing
RATE = 200.0  # changes per second
PACKAGE = ROOT / "notifier"
PLACES = (re.compile(r"/site-packages/(\w+)"), re.compile(r"/lib/python3\.\d+/(\w+)"))  # of libraries
GENERATED = "dataclasses, made at import"
BUILT_IN = "~"

Function = tuple[str, int, str]  # as pstats names it: file, line, name
Cost = tuple[int, int, float, float]  # calls, with and without recursion, and seconds, without and with its callees


def count(directory: Path) -> dict[str, float]:
    """Return the calls of a change, by room or library, most first. Raises BenchError."""
    few, many = (_run(directory, active) for active in (FEW, MANY))
    many.subtract(few)
    changes = (MANY - FEW) * len(CHANGES)
    return {room: round(calls / changes, 1) for room, calls in many.most_common() if calls >= changes / 2}


def room_of(file: str) -> str:
    """Return the room, or the library, that a file belongs to."""
    if Path(file).is_relative_to(PACKAGE):
        return Path(file).relative_to(PACKAGE).parts[0]
    for place in PLACES:
        if found := place.search(file):
            return found[1]
    return GENERATED if file.startswith("<") else "other"


def _run(directory: Path, active: int) -> Counter[str]:
    own = directory / f"where-{active}"
    own.mkdir()
    profile = own / "daemon.prof"
    work = job.Work(streams=STREAMS, active=active, rate=RATE)
    job.measure(name="daemon", work=work, directory=own, profile=profile).require()
    calls: Counter[str] = Counter()
    stats: dict[Function, tuple[int, int, float, float, dict[Function, Cost]]]
    stats = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]  # typeshed does not know it
    for (file, _, _), (_, total, _, _, callers) in stats.items():
        if file != BUILT_IN:
            calls[room_of(file)] += total
            continue
        for (caller, _, _), (_, each, _, _) in callers.items():
            calls[room_of(caller)] += each
    return calls


def main() -> int:
    """Count, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.where", description=__doc__)
    parser.add_argument("--directory", type=Path, default=ROOT / "build" / "bench", help="on a real disk")
    directory = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    console = Console()
    try:
        with tempfile.TemporaryDirectory(dir=directory) as name:
            calls = count(Path(name))
    except BenchError as exc:
        console.print(str(exc), style="red", markup=False)
        return 1
    table = Table("room", "calls of a change")
    table.columns[1].justify = "right"
    for room, each in calls.items():
        table.add_row(room, f"{each:.1f}")
    table.add_section()
    table.add_row("all", f"{sum(calls.values()):.0f}")
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
