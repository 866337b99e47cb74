"""The aims for speed and size: the figure before, the aim, and how to find the figure of now in a sweep. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from operator import ge, le

from bench.figures import JOB, OVERLOAD, RATES, START, STREAMS, Figures, Row
from bench.programs import GO, SCRIPT

DAEMON = "daemon"
FLOOR = "floor-uvloop"
CPU = (  # of a change: compared with, at changes a second, when the aim was set, the aim
    (SCRIPT, 100.0, "-", 1.0),
    (SCRIPT, 400.0, "2.5", 1.0),
    (SCRIPT, 1_000.0, "1.35 to 1.6", 0.75),
    (GO, 100.0, "-", 3.0),
    (GO, 400.0, "7", 3.0),
    (GO, 1_000.0, "4.5 to 5", 2.5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One aim."""

    figure: str
    before: str  # when the aim was set
    aim: float
    now: float | None  # None where it was not measured
    unit: str = ""
    least: bool = False  # the aim is a least, not a most

    @property
    def met(self) -> bool | None:
        """Return whether the aim is met; None where it was not measured."""
        return None if self.now is None else (ge if self.least else le)(self.now, self.aim)


def goals(figures: Figures) -> list[Goal]:
    """List the aims and where they stand."""
    return [*_cpu(figures), *_pace(figures), *_size(figures)]


def saturation(figures: Figures, program: str) -> float | None:
    """Return the callbacks per second of a program that is offered more than it can do."""
    row = figures.at(OVERLOAD, program)
    return None if row is None else row.pace


def stream_kib(figures: Figures, program: str) -> float | None:
    """Return the memory of an open stream, between the fewest and the most that were measured."""
    rows = figures.of(STREAMS, program)
    if len(rows) < 2 or rows[0].streams == rows[-1].streams:
        return None
    return (rows[-1].open_mib - rows[0].open_mib) * 1024 / (rows[-1].streams - rows[0].streams)


def ratio(value: float | None, base: float | None) -> float | None:
    """Return a ratio, or None where one of the two was not measured."""
    return value / base if value is not None and base else None


def half(figures: Figures) -> Row | None:
    """Return the highest rate that was measured up to half of the daemon's saturation."""
    full = saturation(figures, DAEMON)
    fitting = [row for row in figures.of(RATES, DAEMON) if full is not None and row.rate <= full / 2]
    return max(fitting, key=lambda row: row.rate, default=None)


def _cpu(figures: Figures) -> list[Goal]:
    def against(base: str, rate: float) -> float | None:
        ours, theirs = figures.at(RATES, DAEMON, rate=rate), figures.at(RATES, base, rate=rate)
        return ratio(ours and ours.cpu_us, theirs and theirs.cpu_us)

    return [
        Goal(figure=f"CPU of a change at {rate:,.0f}/s / {base}", before=before, aim=aim, now=against(base, rate))
        for base, rate, before, aim in CPU
    ]


def _pace(figures: Figures) -> list[Goal]:
    row = half(figures)
    start = figures.at(START, DAEMON)
    full = saturation(figures, DAEMON)
    at = "half of saturation" if row is None else f"{row.rate:,.0f}/s, at most half of saturation"
    return [
        Goal(figure=f"p99 at {at}", before="30", aim=10.0, now=row and row.p99_ms, unit=" ms"),
        Goal(figure="saturation, changes/s", before="900", aim=1_800.0, now=full, least=True),
        Goal(
            figure="saturation / bare aiohttp's (uvloop), which keeps nothing",
            before="-",
            aim=1.5,
            now=ratio(full, saturation(figures, FLOOR)),
            least=True,
        ),
        Goal(figure="start to 100 open streams", before="1.3 to 2.3", aim=0.8, now=start and start.open_s, unit=" s"),
    ]


def _size(figures: Figures) -> list[Goal]:
    def peak(program: str) -> float | None:
        row = figures.at(JOB, program)
        return row and row.peak_mib

    sizes = figures.of(STREAMS, DAEMON)
    return [
        Goal(figure="peak memory of the job / script", before="-", aim=1.2, now=ratio(peak(DAEMON), peak(SCRIPT))),
        Goal(figure="peak memory of the job / go", before="-", aim=1.0, now=ratio(peak(DAEMON), peak(GO))),
        Goal(figure="memory of a daemon without streams", before="91", aim=60.0, now=figures.empty_mib, unit=" MiB"),
        Goal(
            figure="memory of an open stream",
            before="19.3",
            aim=8.0,
            now=stream_kib(figures, DAEMON),
            unit=" KiB",
        ),
        Goal(
            figure="CPU of a change, most streams / fewest",
            before="-",
            aim=1.15,
            now=ratio(sizes[-1].cpu_us, sizes[0].cpu_us) if len(sizes) > 1 else None,
        ),
    ]
