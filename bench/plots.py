"""The plots of docs/performance.md, drawn from the figures of a sweep: `make plots`. Needs the group `plots`."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib import pyplot

from bench import figures
from bench.child import ROOT
from bench.figures import RATES, STREAMS, Figures, Row
from bench.page import COMPARED

FOLDER = ROOT / "docs" / "img"
COLOURS = dict(zip(COMPARED, ("#0b6e4f", "#c8553d", "#3a6ea5"), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One picture: a line for each program."""

    name: str
    part: str
    title: str
    across: Callable[[Row], float]
    across_label: str
    up: Callable[[Row], float | None]
    up_label: str
    logarithmic: bool = False  # both axes


PLOTS = (
    Plot(
        name="performance-cpu",
        part=RATES,
        title="CPU of a change, {streams:,} streams open",
        across=lambda row: row.rate,
        across_label="changes per second, offered",
        up=lambda row: row.cpu_us,
        up_label="microseconds, all threads",
    ),
    Plot(
        name="performance-p99",
        part=RATES,
        title="Latency p99, upstream's write to callback, {streams:,} streams open",
        across=lambda row: row.rate,
        across_label="changes per second, offered",
        up=lambda row: row.p99_ms,
        up_label="milliseconds",
        logarithmic=True,
    ),
    Plot(
        name="performance-memory",
        part=STREAMS,
        title="Resident memory, all streams open",
        across=lambda row: row.streams,
        across_label="open streams",
        up=lambda row: row.open_mib,
        up_label="MiB",
    ),
    Plot(
        name="performance-streams",
        part=STREAMS,
        title="CPU of a change at {rate:,.0f}/s",
        across=lambda row: row.streams,
        across_label="open streams",
        up=lambda row: row.cpu_us,
        up_label="microseconds, all threads",
    ),
)


def draw(plot: Plot, told: Figures, folder: Path, source: str) -> None:
    """Draw one picture, which bears the digest of the figures that it was drawn from."""
    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=90, layout="constrained")
    for program in COMPARED:
        points = [(plot.across(row), up) for row in told.of(plot.part, program) if (up := plot.up(row)) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=program, color=COLOURS[program])
    if plot.logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
    rows = told.of(plot.part)
    title = plot.title.format(streams=rows[0].streams, rate=rows[0].rate) if rows else f"{plot.part}: not measured"
    axes.set_title(title + (" (busy machine)" if told.busy else ""), fontsize=11)
    axes.set_xlabel(plot.across_label)
    axes.set_ylabel(plot.up_label)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(folder / f"{plot.name}.png", metadata={"Software": "bench.plots", "Source": source})
    pyplot.close(figure)


def main() -> int:
    """Draw all plots."""
    parser = argparse.ArgumentParser(prog="python -m bench.plots", description=__doc__)
    parser.add_argument("--json", type=Path, default=figures.FILE)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    args = parser.parse_args()
    matplotlib.use("Agg")
    source = hashlib.sha256(args.json.read_bytes()).hexdigest()
    for plot in PLOTS:
        draw(plot, figures.load(args.json), args.folder, source)
    return 0


if __name__ == "__main__":
    sys.exit(main())
