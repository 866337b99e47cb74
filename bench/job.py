"""The job: every stream plays its timeline, every change is delivered; one program at a time, each a fresh process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

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
class Work:
    """How much there is to do."""

    streams: int  # that are open
    rate: float  # changes per second, all streams together
    active: int | None = None  # of the streams, those that play; all of them unless told otherwise
    rest_seconds: float = 0.0  # to measure the CPU of open streams that say nothing, before the plan starts

    @property
    def changes(self) -> int:
        """Return the number of changes of the plan."""
        return len(CHANGES) * (self.streams if self.active is None else self.active)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One program's figures. CPU is user and system seconds of that process, all threads."""

    name: str
    start_cpu: float  # to the first open stream: interpreter, imports, configuration
    connect_cpu: float  # from there until all are open and it is at rest
    load_cpu: float  # from the plan's start to half a second after the last callback
    load_main_cpu: float  # of that, the main thread: the event loop
    rest_cores: float | None  # CPU seconds per second while all streams are open and say nothing, if it was measured
    open_seconds: float  # of wall clock until all streams were open
    load_seconds: float  # of wall clock from the plan's start to the last callback
    open_rss: int  # bytes, all streams open and nothing said
    peak_rss: int  # bytes, until the end of the load
    tally: Mapping[str, Any]
    reconnects: int
    lag_p99_ms: float  # the load generator's own lateness
    lag_max_ms: float
    loadgen_cpu: float
    others_cores: float  # CPU seconds per second that everything else on the machine used during the load
    exit_status: int
    rows: Mapping[str, int] | None  # by table, of the daemon's database

    @property
    def cpu(self) -> float:
        """Return all CPU seconds, the end excepted."""
        return self.start_cpu + self.connect_cpu + self.load_cpu

    @property
    def cpu_us(self) -> float:
        """Return the microseconds of CPU that a change took during the load."""
        return self.load_cpu / float(self.tally["expected"]) * 1e6

    @property
    def pace(self) -> float:
        """Return the callbacks per second from the plan's start to the last of them."""
        return float(self.tally["callbacks"] / self.load_seconds)

    def require(self) -> None:
        """Raise BenchError if the job was done wrong: then its figures say nothing."""
        wrong = {fault: count for fault in FAULTS if (count := self.tally[fault])}
        if self.name in DAEMONS and self.exit_status != 0:
            wrong["exit_status"] = self.exit_status
        if wrong:
            raise BenchError("done wrong: " + ", ".join(f"{fault} {count}" for fault, count in wrong.items()))


def measure(*, name: str, work: Work, directory: Path, go: Path | None = None, profile: Path | None = None) -> Result:
    """Run one program through the job. Raises BenchError if it does not get there."""
    with LoadGenerator(streams=work.streams, active=work.active, rate=work.rate, secret=SECRET) as load:
        ports = load.expect("ready", within=OPEN_SECONDS)
        bout = Bout.beside(
            ports,
            name=name,
            directory=directory,
            streams=work.streams,
            go=go,
            profile=profile if name in DAEMONS else None,
        )
        begun = time.monotonic()
        with Program(command(bout), log=directory / "output.log") as program:
            load.expect("first", within=OPEN_SECONDS, of=program)
            first = program.weigh()
            load.expect("open", within=OPEN_SECONDS + work.streams / OPENED_PER_SECOND, of=program)
            open_seconds = time.monotonic() - begun
            # A stream is open here when its request has come; the program may still be reading five thousand replies.
            opened, _ = program.settle(at_most=SETTLE_SECONDS, every=0.5)
            rest_cores = _rest(program, work.rest_seconds) if work.rest_seconds else None
            before = program.weigh()
            busy, started = _busy(), time.monotonic()
            load.go()
            load.expect("quiet", within=work.changes / work.rate + LATE_SECONDS, of=program)
            busy, seconds = _busy() - busy, time.monotonic() - started
            last = program.weigh()
            report = load.expect("done", within=OPEN_SECONDS)
            load_cpu = last.cpu - before.cpu
            return Result(
                name=name,
                start_cpu=first.cpu,
                connect_cpu=opened.cpu - first.cpu,
                load_cpu=load_cpu,
                load_main_cpu=last.main_cpu - before.main_cpu,
                rest_cores=rest_cores,
                open_seconds=open_seconds,
                load_seconds=report["seconds"],
                open_rss=opened.rss,
                peak_rss=last.peak,
                tally=report["tally"],
                reconnects=report["reconnects"],
                lag_p99_ms=report["lag_p99_ms"],
                lag_max_ms=report["lag_max_ms"],
                loadgen_cpu=report["loadgen_cpu"],
                others_cores=max(0.0, busy - load_cpu - report["loadgen_cpu"]) / seconds,
                exit_status=program.end(),
                rows=rows(bout.database) if name in DAEMONS else None,
            )


def _rest(program: Program, seconds: float) -> float:
    before = program.weigh().cpu
    time.sleep(seconds)
    return (program.weigh().cpu - before) / seconds


def _busy() -> float:
    """Return the CPU seconds that the whole machine has used so far, with those that its host took from it."""
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + times.irq + times.softirq + times.steal)
