"""The sweep, `python -m bench.sweep`: cost and latency against rate, memory and cost against number of streams.

Every point is one run of the job by one program, and the programs take turns at each point, so that whatever else the
machine does meets all of them. Points that aims compare are measured in more rounds, of which the middle one counts:
the same run took a quarter more CPU, or less, minutes later. The file is written after each point: a run that is broken
off has its figures.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench import aims, figures, golang, idle, job, where
from bench.__main__ import OVERLOAD_RATE, stop
from bench.child import ROOT, BenchError, allow_descriptors, fitting
from bench.disk import measure as measure_disk
from bench.figures import MIB, Figures, Row
from bench.programs import GO, JOB, SCRIPT
from bench.timeline import CHANGES
from bench.turn import machine, turn

DAEMON = "daemon"
COMPARED = (DAEMON, SCRIPT, GO)
REST_SECONDS = 4.0
ROUNDS = 3  # of points that aims compare
AIMED_RATES = {rate for _, rate, _, _ in aims.CPU} | {1_400.0}  # changes a second; the last is about half of saturation
FEWEST_CHANGES = 600  # of a point at a low rate: CPU is told in steps of 10 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The points to measure."""

    streams: int  # open at each rate
    overload: int  # streams
    rates: Sequence[float]  # until a program is saturated
    seconds: float  # of load at each rate
    sizes: Sequence[int]  # numbers of streams
    size_rate: float  # changes per second at each of them
    rest_seconds: float
    compared: Sequence[str] = COMPARED
    job: Sequence[str] = JOB


FULL = Plan(
    streams=5_000,
    overload=3_000,
    rates=(50, 100, 200, 400, 700, 1_000, 1_400, 2_000, 2_800, 4_000),
    seconds=8.0,
    sizes=(1_000, 5_000, 10_000, 20_000),
    size_rate=400.0,
    rest_seconds=REST_SECONDS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run of one program."""

    part: str
    program: str
    work: job.Work

    @property
    def title(self) -> str:
        """Return what is measured, in words."""
        return f"{self.part}: {self.program}, {self.work.streams:,} streams, {self.work.rate:,.0f}/s"


class Sweep:
    """A run of the sweep: what was measured so far, and the time that is left."""

    def __init__(
        self, *, file: Path, seconds: float, directory: Path, console: Console, rows: Iterable[Row] = ()
    ) -> None:
        """Prepare one; `rows` were measured before."""
        self._file = file
        self._begun = time.monotonic()
        self._seconds = seconds
        self._directory = directory
        self._console = console
        self._go = golang.compiled(directory)
        self.failures: dict[str, str] = {}
        disk = measure_disk(directory)
        kept = {name: told for name, told in machine().items() if name != "system"}
        about = {**kept, "at": datetime.now(UTC).isoformat(timespec="minutes"), "filesystem": disk.filesystem}
        self.figures = Figures(machine={**about, "sync_p50_ms": round(disk.sync_p50_ms, 2)}, rows=tuple(rows))

    def run(self, plan: Plan) -> None:
        """Measure all points of the plan for which there is time."""
        if DAEMON in plan.compared:
            self._weigh_empty()
            self._count()
        for point in points(plan):
            self._take(point)
        for point in (ROUNDS - 1) * [point for point in points(plan) if is_aimed(point, plan)]:
            if time.monotonic() - self._begun > self._seconds:
                self._leave_out(f"rounds of points that aims compare: the time was over before {ROUNDS} were done")
                break
            self._take(point)

    def _take(self, point: Point) -> None:
        if point.program == GO and self._go is None:
            self._leave_out(f"{GO}: {golang.NO_GO}")
            return
        if not is_due(point, self.figures):
            return
        spent = time.monotonic() - self._begun
        if spent > self._seconds:
            self._leave_out(f"{point.title}: the time was over")
            return
        if not self._measured(point, spent) and self._measured(point, spent):  # once more: its port may have been taken
            del self.failures[point.title]

    def _measured(self, point: Point, spent: float) -> bool:
        """Measure a point; return whether that could be done."""
        failures: dict[str, str] = {}
        own = Path(tempfile.mkdtemp(dir=self._directory))
        with turn(f"{spent / 60:5.1f} min  {point.title}", own, self._console, failures):
            result = job.measure(name=point.program, work=point.work, directory=own, go=self._go)
            result.require()
            row = figures.row(point.part, point.work, result)
            self._console.print(
                f"           {row.cpu_us:,.0f} us of CPU a change, p99 {row.p99_ms:,.1f} ms, "
                f"{row.pace:,.0f} callbacks/s, {row.open_mib:,.0f} MiB, others {row.others_cores:.2f} cores",
                highlight=False,
            )
            self._keep(self.figures.more(rows=[row]))
        if failures:
            self.failures[point.title] = "\n".join(failures.values())
        return not failures

    def _weigh_empty(self) -> None:
        own = self._directory / "empty"
        own.mkdir()
        with turn("empty: daemon", own, self._console, self.failures):
            weight, _, _ = idle.weigh(name=DAEMON, streams=0, directory=own, trust=None)
            self._keep(replace(self.figures, empty_mib=round(weight.rss / MIB, 1)))

    def _count(self) -> None:
        with turn("calls of a change: daemon", self._directory, self._console, self.failures):
            self._keep(replace(self.figures, calls=where.count(self._directory)))

    def _leave_out(self, what: str) -> None:
        if what not in self.figures.left_out:
            self._console.print(f"left out: {what}", style="yellow", markup=False)
            self._keep(self.figures.more(left_out=[what]))

    def _keep(self, kept: Figures) -> None:
        self.figures = kept
        figures.save(kept, self._file)


def is_due(point: Point, so_far: Figures) -> bool:
    """Return whether a point is worth its time: a program that was saturated at a lower rate is not asked for more."""
    before = so_far.of(point.part, point.program)
    return point.part != figures.RATES or not any(row.saturated and row.rate < point.work.rate for row in before)


def is_aimed(point: Point, plan: Plan) -> bool:
    """Return whether an aim compares a point's figures of time with others."""
    if point.part == figures.STREAMS:
        return point.program == DAEMON and point.work.streams in (min(plan.sizes), max(plan.sizes))
    return point.part == figures.RATES and point.work.rate in AIMED_RATES


def points(plan: Plan) -> Iterator[Point]:
    """List the points; the programs take turns at each."""
    for program in plan.compared:
        yield Point(part=figures.START, program=program, work=job.Work(streams=min(100, plan.streams), rate=300.0))
    for program in plan.job:
        yield Point(part=figures.JOB, program=program, work=job.Work(streams=plan.streams, rate=max_rate(plan)))
        yield Point(part=figures.OVERLOAD, program=program, work=job.Work(streams=plan.overload, rate=OVERLOAD_RATE))
    for rate in plan.rates:
        seconds = max(plan.seconds, min(FEWEST_CHANGES / rate, 2 * plan.seconds))
        work = job.Work(streams=plan.streams, rate=rate, active=playing(rate, seconds, plan.streams))
        for program in plan.compared:
            yield Point(part=figures.RATES, program=program, work=work)
    for size in plan.sizes:
        work = job.Work(
            streams=size,
            rate=plan.size_rate,
            active=playing(plan.size_rate, plan.seconds, size),
            rest_seconds=plan.rest_seconds,
        )
        for program in plan.compared:
            yield Point(part=figures.STREAMS, program=program, work=work)


def scaled(plan: Plan, scale: float) -> Plan:
    """Return the plan with more streams, or fewer."""
    return replace(
        plan,
        streams=max(1, round(plan.streams * scale)),
        overload=max(1, round(plan.overload * scale)),
        sizes=tuple(max(1, round(size * scale)) for size in plan.sizes),
    )


def max_rate(plan: Plan) -> float:
    """Return the rate of the job: 1,000/s, or as much as the plan's rates have."""
    return min(1_000.0, max(plan.rates))


def playing(rate: float, seconds: float, streams: int) -> int:
    """Return how many streams have to play for so many seconds of load."""
    return max(1, min(streams, round(rate * seconds / len(CHANGES))))


def main() -> int:
    """Measure. Returns 0, or 1 when a point could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__)
    parser.add_argument("--json", type=Path, default=figures.FILE, help="the figures (those of the docs)")
    parser.add_argument("--minutes", type=float, default=25.0, help="after so many no further point is begun (25)")
    parser.add_argument("--program", choices=COMPARED, help="measure this, and keep what the file has of others")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of all numbers of streams: less where it is slow (1.0)"
    )
    parser.add_argument("--directory", type=Path, default=ROOT / "build" / "bench", help="on a real disk")
    args = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 140)
    signal.signal(signal.SIGTERM, stop)
    plan = scaled(FULL, args.scale)
    kept: tuple[Row, ...] = ()
    if args.program is not None:
        plan = replace(plan, compared=(args.program,), job=(args.program,))
        kept = tuple(row for row in figures.load(args.json).rows if row.program != args.program)
    args.directory.mkdir(parents=True, exist_ok=True)
    try:
        most = max(plan.sizes)
        if (possible := fitting(most)) < most:
            console.print(f"[yellow]open files (`ulimit -Hn`) allow {possible:,} streams, not {most:,}[/]")
            plan = replace(plan, sizes=sorted({min(size, possible) for size in plan.sizes}))
        allow_descriptors(max(plan.streams, plan.overload, *plan.sizes))
        with tempfile.TemporaryDirectory(dir=args.directory) as name:
            seconds = args.minutes * 60
            sweep = Sweep(file=args.json, seconds=seconds, directory=Path(name), console=console, rows=kept)
            sweep.run(plan)
    except BenchError as exc:
        console.print(str(exc), style="red", markup=False)
        return 1
    if sweep.figures.busy:
        console.print(f"[yellow]others used {sweep.figures.others_cores:.2f} cores: figures are worse than they are[/]")
    return 1 if sweep.failures else 0


if __name__ == "__main__":
    sys.exit(main())
