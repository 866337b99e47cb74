"""The job's figures as a person reads them: absolute, as ratios to each other program, and beside the aims."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from rich.console import Console

from bench import job
from bench.disk import Disk
from bench.programs import DAEMONS, FLOORS, GO, SCRIPT
from bench.table import MIB, Aim, by_column, mib, number, ratio, show_aims

FULL_RATE = 1_000.0  # changes per second from which the aims are those of a busy daemon
SCRIPT_CPU, SCRIPT_CPU_BELOW = 0.75, 1.0  # at most, of the script's; at FULL_RATE, and below
GO_CPU, GO_CPU_BELOW = 2.5, 3.0  # at most, of Go's
SCRIPT_RSS, GO_RSS = 1.2, 1.0
P99_MS = 10.0
OTHERS_CORES = 0.1  # used by others: from here on the figures are marked


def show(
    console: Console,
    results: Sequence[job.Result],
    overloads: Mapping[str, job.Result],
    absent: Mapping[str, str],
    *,
    work: job.Work,
    disk: Disk,
) -> None:
    """Print the job: one column for each program, also for one that is absent."""
    console.print(
        f"\n[bold]The job[/]: {work.streams:,} streams, {work.rate:,.0f} changes/s, {work.changes:,} signed callbacks; "
        f"daemon's disk: {disk.filesystem}, fdatasync p50 {disk.sync_p50_ms:.2f} ms, p99 {disk.sync_p99_ms:.2f} ms"
        + ("" if disk.durable else " [red](in memory: not durable)[/]")
    )
    table = by_column(results, _rows(overloads))
    for base in (result for result in results if result.name in (SCRIPT, GO, *FLOORS)):
        table.add_section()
        for label, figure in _compared(overloads):
            table.add_row(f"{label} / {base.name}", *(ratio(figure(result), figure(base)) for result in results))
    for name in absent:
        table.add_column(name, justify="right")
    console.print(table)
    for name, why in absent.items():
        console.print(f"{name} was left out: {why}")
    for result in results:
        if result.rows is not None:
            told = ", ".join(f"{name} {count:,}" for name, count in result.rows.items())
            console.print(f"{result.name}: rows {told}; exit status {result.exit_status}")
    show_aims(console, aims(results, rate=work.rate))


def aims(results: Iterable[job.Result], *, rate: float) -> list[Aim]:
    """Return the aims of the job that the programs measured can speak to."""
    by_name = {result.name: result for result in results}
    full = rate >= FULL_RATE
    limits = [
        (SCRIPT, SCRIPT_CPU if full else SCRIPT_CPU_BELOW, SCRIPT_RSS),
        (GO, GO_CPU if full else GO_CPU_BELOW, GO_RSS),
    ]
    found: list[Aim] = []
    for result in (by_name[name] for name in DAEMONS if name in by_name):
        for name, cpu, rss in limits:
            if base := by_name.get(name):
                found.append(Aim(what=f"{result.name}: CPU, all / {name}", value=result.cpu / base.cpu, at_most=cpu))
                peak = result.peak_rss / base.peak_rss
                found.append(Aim(what=f"{result.name}: RSS / {name}", value=peak, at_most=rss))
        p99 = result.tally["p99_ms"]
        found.append(Aim(what=f"{result.name}: p99 ms", value=float("inf") if p99 is None else p99, at_most=P99_MS))
    return found


def _rows(overloads: Mapping[str, job.Result]) -> list[tuple[str, Callable[[job.Result], str]]]:
    return [
        ("CPU s, all", lambda r: f"{r.cpu:.2f}"),
        ("  start", lambda r: f"{r.start_cpu:.2f}"),
        ("  connect", lambda r: f"{r.connect_cpu:.2f}"),
        ("  load", lambda r: f"{r.load_cpu:.2f}"),
        ("    of it, main thread", lambda r: f"{r.load_main_cpu:.2f}"),
        ("CPU us / change, load", lambda r: f"{r.cpu_us:.0f}"),
        ("RSS MiB, streams open", lambda r: mib(r.open_rss)),
        ("RSS MiB, peak", lambda r: mib(r.peak_rss)),
        ("latency ms p50", lambda r: number(r.tally["p50_ms"])),
        ("  p99", lambda r: number(r.tally["p99_ms"])),
        ("  max", lambda r: number(r.tally["max_ms"])),
        ("callbacks/s, overloaded", lambda r: number(_saturation(overloads, r), 0)),
        ("callbacks", lambda r: f"{r.tally['callbacks']:,}"),
        ("  duplicate / missing", lambda r: f"{r.tally['duplicates']} / {r.tally['missing']}"),
        ("  early / out of order", lambda r: f"{r.tally['early']} / {r.tally['out_of_order']}"),
        ("  not signed", lambda r: f"{r.tally['unsigned']}"),
        ("reconnects", lambda r: f"{r.reconnects}"),
        ("s to open all / of load", lambda r: f"{r.open_seconds:.1f} / {r.load_seconds:.1f}"),
        ("load generator CPU s", lambda r: f"{r.loadgen_cpu:.2f}"),
        ("  late ms p99 / max", lambda r: f"{r.lag_p99_ms:.1f} / {r.lag_max_ms:.1f}"),
        ("cores that others used", lambda r: f"{r.others_cores:.2f}" + (" !" if r.others_cores > OTHERS_CORES else "")),
    ]


def _compared(overloads: Mapping[str, job.Result]) -> list[tuple[str, Callable[[job.Result], float | None]]]:
    return [
        ("CPU, all", lambda r: r.cpu),
        ("CPU, load", lambda r: r.load_cpu),
        ("RSS, peak", lambda r: r.peak_rss / MIB),
        ("p50", lambda r: r.tally["p50_ms"]),
        ("p99", lambda r: r.tally["p99_ms"]),
        ("callbacks/s, overloaded", lambda r: _saturation(overloads, r)),
    ]


def _saturation(overloads: Mapping[str, job.Result], result: job.Result) -> float | None:
    overload = overloads.get(result.name)
    return None if overload is None else overload.pace
