"""The figures of several nodes as a person reads them. Prints; decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from bench import nodes
from bench.server import Used
from bench.table import MIB, Aim, by_column, show_aims

MAX_CPU_RATIO = 1.3  # of a node on PostgreSQL to one on SQLite, for each change
MAX_TRIPS = 3.0  # round trips for each group of changes


def show(console: Console, results: Sequence[nodes.Result], trips: nodes.Trips | None) -> None:
    """Print one column for each way."""
    console.print(f"\n[bold]Nodes[/]: {results[0].changes:,} changes with their signed callbacks")
    rows: list[tuple[str, Callable[[nodes.Result], str]]] = [
        ("changes/s", lambda r: f"{r.changes / r.seconds:,.0f}"),
        ("CPU us / change, nodes", lambda r: f"{r.node_us:.0f}"),
        ("  of it, event loops", lambda r: f"{sum(r.main_cpu) / r.changes * 1e6:.0f}"),
        ("latency ms p50 / p99", lambda r: f"{r.tally['p50_ms']:.1f} / {r.tally['p99_ms']:.1f}"),
        ("reconnects", lambda r: f"{r.reconnects:,}"),
        ("RSS MiB, peak", lambda r: " + ".join(f"{peak / MIB:.0f}" for peak in r.peak_rss)),
        ("PostgreSQL: CPU us / change, backends", lambda r: _of(r, lambda u: f"{u.backend_cpu / r.changes * 1e6:.0f}")),
        ("  its other processes", lambda r: _of(r, lambda u: f"{u.shared_cpu / r.changes * 1e6:.0f}")),
        ("  connections", lambda r: _of(r, lambda u: str(u.connections))),
        ("  groups/s", lambda r: _of(r, lambda u: f"{u.groups / r.seconds:.0f}")),
        ("  changes / group", lambda r: _of(r, lambda u: f"{r.changes / u.groups:.1f}")),
        ("  commits/s, reading included", lambda r: _of(r, lambda u: f"{u.commits / r.seconds:.0f}")),
        ("  rows written / change", lambda r: _of(r, lambda u: f"{u.changed / r.changes:.1f}")),
        ("  dead rows / change", lambda r: _of(r, lambda u: f"{u.dead / r.changes:.1f}")),
        ("  WAL bytes / change", lambda r: _of(r, lambda u: f"{u.wal / r.changes:,.0f}")),
        ("duplicate / missing", lambda r: f"{r.tally['duplicates']} / {r.tally['missing']}"),
        ("out of order / not signed", lambda r: f"{r.tally['out_of_order']} / {r.tally['unsigned']}"),
        ("load generator late ms p99", lambda r: f"{r.late_p99_ms:.1f}"),
        ("load average", lambda r: f"{r.load_average:.1f}"),
    ]
    console.print(by_column(results, rows))
    if trips is not None:
        console.print(f"round trips of the writer: {trips.trips:,} for {trips.groups:,} groups, counted by a relay")
    show_aims(console, aims(results, trips))


def aims(results: Sequence[nodes.Result], trips: nodes.Trips | None) -> list[Aim]:
    """Return the aims that these measurements can meet or miss."""
    by_name = {result.name: result for result in results}
    found: list[Aim] = []
    if nodes.SQLITE in by_name:
        base = by_name[nodes.SQLITE].node_us
        found += [
            Aim(what=f"{name}: CPU of the nodes / SQLite's", value=by_name[name].node_us / base, at_most=MAX_CPU_RATIO)
            for name in (nodes.ONE, nodes.TWO)
            if name in by_name
        ]
    if trips is not None and trips.groups:
        found.append(Aim(what="round trips / group", value=trips.trips / trips.groups, at_most=MAX_TRIPS))
    return found


def _of(result: nodes.Result, cell: Callable[[Used], str]) -> str:
    return "-" if result.used is None else cell(result.used)
