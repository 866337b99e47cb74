"""The figures of a sweep, as the file keeps them: what `bench.sweep` measured and the page and its plots show."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

from bench.child import ROOT
from bench.job import Result, Work

FILE = ROOT / "bench" / "results" / "performance.json"
MIB = 1024 * 1024
START, JOB, OVERLOAD, RATES, STREAMS = "start", "job", "overload", "rates", "streams"  # parts of a sweep
SATURATED_MS = 1_000.0  # latency above which a program does not keep up
KEPT = 0.95  # of the rate offered: less is not kept up with
BUSY_CORES = 0.1  # used by others


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One program's figures at one point; see `bench.job.Result`."""

    part: str
    program: str
    streams: int
    rate: float  # changes per second that were offered
    changes: int
    cpu_us: float  # of a change, all threads
    loop_us: float  # of it, the main thread
    cpu_s: float  # all in all, start and connecting included
    start_cpu_s: float
    open_s: float  # of wall clock from the start until all streams were open
    rest_cores: float | None
    p50_ms: float | None
    p99_ms: float | None
    pace: float  # callbacks per second from the first change to the last callback
    open_mib: float
    peak_mib: float
    late_ms: float  # the load generator's own lateness, p99
    others_cores: float

    @property
    def saturated(self) -> bool:
        """Return whether the program did not keep up with the rate."""
        return self.p99_ms is None or self.p99_ms > SATURATED_MS or self.pace < KEPT * self.rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All that one sweep measured."""

    machine: dict[str, Any] = field(default_factory=dict)
    empty_mib: float | None = None  # of a daemon that follows nothing
    calls: dict[str, float] = field(default_factory=dict)  # of a change, in the event loop's thread, by room
    rows: tuple[Row, ...] = ()
    left_out: tuple[str, ...] = ()  # and why

    def of(self, part: str, program: str | None = None) -> list[Row]:
        """Return the rows of a part, of one program if it is named; of a point's rounds the one of middle CPU."""
        rounds: dict[tuple[str, int, float], list[Row]] = {}
        for row in self.rows:
            if row.part == part and program in (None, row.program):
                rounds.setdefault((row.program, row.streams, row.rate), []).append(row)
        return [sorted(rows, key=lambda row: row.cpu_us)[len(rows) // 2] for rows in rounds.values()]

    def at(self, part: str, program: str, *, rate: float | None = None, streams: int | None = None) -> Row | None:
        """Return one row, or None if there is none."""
        for row in self.of(part, program):
            if rate in (None, row.rate) and streams in (None, row.streams):
                return row
        return None

    def more(self, *, rows: Iterable[Row] = (), left_out: Iterable[str] = ()) -> Figures:
        """Return the figures with more of them."""
        return replace(self, rows=(*self.rows, *rows), left_out=(*self.left_out, *left_out))

    @property
    def others_cores(self) -> float:
        """Return the cores that the rest of the machine used meanwhile: the middle one of the rows."""
        return middle([row.others_cores for row in self.rows])

    @property
    def busy(self) -> bool:
        """Return whether the machine did other work as well, so that no figure of time counts."""
        return self.others_cores > BUSY_CORES


def row(part: str, work: Work, result: Result) -> Row:
    """Return the figures of a measurement that the file keeps."""
    return Row(
        part=part,
        program=result.name,
        streams=work.streams,
        rate=work.rate,
        changes=work.changes,
        cpu_us=round(result.cpu_us, 1),
        loop_us=round(result.load_main_cpu / work.changes * 1e6, 1),
        cpu_s=round(result.cpu, 2),
        start_cpu_s=round(result.start_cpu, 2),
        open_s=round(result.open_seconds, 2),
        rest_cores=None if result.rest_cores is None else round(result.rest_cores, 4),
        p50_ms=_rounded(result.tally["p50_ms"]),
        p99_ms=_rounded(result.tally["p99_ms"]),
        pace=round(result.pace, 1),
        open_mib=round(result.open_rss / MIB, 1),
        peak_mib=round(result.peak_rss / MIB, 1),
        late_ms=round(result.lag_p99_ms, 1),
        others_cores=round(result.others_cores, 2),
    )


def middle(values: Sequence[float]) -> float:
    """Return the middle one of some values; 0 of none."""
    return sorted(values)[len(values) // 2] if values else 0.0


def load(file: Path = FILE) -> Figures:
    """Read figures."""
    read = json.loads(file.read_text(encoding="utf-8"))
    rows = tuple(Row(**each) for each in read.pop("rows"))
    return Figures(**{**read, "rows": rows, "left_out": tuple(read["left_out"])})


def save(figures: Figures, file: Path) -> None:
    """Write figures, a row a line, so that changes of the file can be read."""
    told = asdict(figures)
    rows = ",\n  ".join(json.dumps(each) for each in told.pop("rows"))
    head = json.dumps(told, indent=1)[:-2]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'{head},\n "rows": [\n  {rows}\n ]\n}}\n', encoding="utf-8")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
