"""The job: every stream plays its timeline, every change is delivered; one program at a time, each a fresh process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.child import BenchError, LoadGenerator, Program
from bench.disk import rows
from bench.programs import DAEMONS, SECRET, Bout, command
from bench.timeline import CHANGES

OPEN_SECONDS = 60.0  # to start and open a few streams
OPENED_PER_SECOND = 100.0  # slower than this is a failure
SETTLE_SECONDS = 30.0  # at most, for the program to be done with connecting
LATE_SECONDS = 120.0  # after the plan's end, for all callbacks or the verdict that some are missing
FAULTS = ("duplicates", "missing", "early", "out_of_order", "unsigned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One program's figures. CPU is user and system seconds of that process, all threads."""

    name: str
    start_cpu: float  # to the first open stream: interpreter, imports, configuration
    connect_cpu: float  # from there until all are open and it is at rest
    load_cpu: float  # from the plan's start to half a second after the last callback
    load_main_cpu: float  # of that, the main thread: the event loop
    open_seconds: float  # of wall clock until all streams were open
    load_seconds: float  # of wall clock from the plan's start to the last callback
    open_rss: int  # bytes, all streams open and nothing said
    peak_rss: int  # bytes, until the end of the load
    tally: Mapping[str, Any]
    reconnects: int
    lag_p99_ms: float  # the load generator's own lateness
    lag_max_ms: float
    loadgen_cpu: float
    exit_status: int
    rows: Mapping[str, int] | None  # by table, of the daemon's database

    @property
    def cpu(self) -> float:
        """Return all CPU seconds, the end excepted."""
        return self.start_cpu + self.connect_cpu + self.load_cpu

    def require(self) -> None:
        """Raise BenchError if the job was not done as told: then its figures say nothing."""
        wrong = {fault: count for fault in FAULTS if (count := self.tally[fault])}
        if self.name in DAEMONS and self.exit_status != 0:
            wrong["exit_status"] = self.exit_status
        if wrong:
            raise BenchError("done wrong: " + ", ".join(f"{fault} {count}" for fault, count in wrong.items()))


def measure(*, name: str, streams: int, rate: float, directory: Path, profile: Path | None) -> Result:
    """Run one program through the job. Raises BenchError if it does not get there."""
    with LoadGenerator(streams=streams, rate=rate, secret=SECRET) as load:
        ports = load.expect("ready", within=OPEN_SECONDS)
        bout = Bout(
            name=name,
            directory=directory,
            streams=streams,
            upstream=f"http://127.0.0.1:{ports['upstream']}",
            callback=f"http://127.0.0.1:{ports['receiver']}/callback",
            profile=profile if name in DAEMONS else None,
        )
        begun = time.monotonic()
        with Program(command(bout), log=directory / "output.log") as program:
            load.expect("first", within=OPEN_SECONDS, of=program)
            first = program.weigh()
            load.expect("open", within=OPEN_SECONDS + streams / OPENED_PER_SECOND, of=program)
            open_seconds = time.monotonic() - begun
            # A stream is open here when its request has come; the program may still be reading five thousand replies.
            opened, _ = program.settle(at_most=SETTLE_SECONDS, every=0.5)
            load.go()
            load.expect("quiet", within=len(CHANGES) * streams / rate + LATE_SECONDS, of=program)
            last = program.weigh()
            report = load.expect("done", within=OPEN_SECONDS)
            return Result(
                name=name,
                start_cpu=first.cpu,
                connect_cpu=opened.cpu - first.cpu,
                load_cpu=last.cpu - opened.cpu,
                load_main_cpu=last.main_cpu - opened.main_cpu,
                open_seconds=open_seconds,
                load_seconds=report["seconds"],
                open_rss=opened.rss,
                peak_rss=last.peak,
                tally=report["tally"],
                reconnects=report["reconnects"],
                lag_p99_ms=report["lag_p99_ms"],
                lag_max_ms=report["lag_max_ms"],
                loadgen_cpu=report["loadgen_cpu"],
                exit_status=program.end(),
                rows=rows(bout.database) if name in DAEMONS else None,
            )
