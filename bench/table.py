"""The figures as a person reads them: absolute, as ratios, and beside the project's aims. Prints; decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rich.console import Console
from rich.table import Table

from bench import adding, idle, many
from bench.programs import DAEMONS

MIB = 1024 * 1024
MAX_STREAM_RATIO = 1.3  # of bare aiohttp's memory per stream, the same loop
MAX_TLS_RSS = 1024 * MIB
MAX_ADD_SECONDS = 1.0
MAX_LIST_P99_MS = 100.0
MAX_RAMP_RATIO = 1.1  # of the time that `connect_rate` alone takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One aim and how far it was met."""

    what: str
    value: float
    at_most: float

    @property
    def met(self) -> bool:
        """Return whether the aim was met."""
        return self.value <= self.at_most


class Named(Protocol):
    """A subject of the table; its name heads a column."""

    @property
    def name(self) -> str:
        """Return its heading."""
        ...


R = TypeVar("R", bound=Named)


def show_idle(console: Console, results: Sequence[idle.Result]) -> None:
    """Print the memory of idle streams: one row for each program and transport."""
    streams = max(result.streams for result in results)
    console.print(f"\n[bold]Idle streams[/]: {streams:,}, each having said `queueing` once")
    table = Table(
        "program", "transport", "empty MiB", "full MiB", "peak MiB", "KiB / stream", "/ floor", "cores", "missing"
    )
    for column in table.columns[2:]:
        column.justify = "right"
    for result in results:
        floor = _floor(results, result)
        table.add_row(
            result.name,
            "TLS" if result.tls else "plain",
            f"{result.empty_rss / MIB:.0f}",
            f"{result.full_rss / MIB:.0f}",
            f"{result.peak_rss / MIB:.0f}",
            f"{result.per_stream / 1024:.1f}",
            ratio(result.per_stream, floor.per_stream) if floor else "-",
            f"{result.rest_cores:.2f}",
            str(result.missing),
        )
    console.print(table)
    show_aims(console, idle_aims(results))


def show_add(console: Console, results: Sequence[adding.Result]) -> None:
    """Print how soon a watch is followed: one row for each way."""
    console.print(f"\n[bold]Adding a watch[/] while {results[0].streams:,} streams are open, to its subscription")
    table = Table("way", "times", "seconds, middle", "worst")
    for column in table.columns[1:]:
        column.justify = "right"
    for result in results:
        middle = sorted(result.seconds)[len(result.seconds) // 2]
        table.add_row(result.way, str(len(result.seconds)), f"{middle:.3f}", f"{result.worst:.3f}")
    console.print(table)
    if not any(result.way == adding.QUEUE for result in results):
        console.print("the queue was left out: no Redis answers (--redis)")
    show_aims(console, add_aims(results))


def add_aims(results: Iterable[adding.Result]) -> list[Aim]:
    """Return the aim of each way."""
    return [Aim(what=f"{result.way}: s", value=result.worst, at_most=MAX_ADD_SECONDS) for result in results]


def show_many(console: Console, result: many.Result) -> None:
    """Print the time that adding very many watches took, and how it slowed the rest."""
    console.print(
        f"\n[bold]Many at once[/]: {result.watches:,} watches by one request, beside {result.flowing:,} streams"
    )
    table = Table("", "", show_header=False)
    table.columns[1].justify = "right"
    rows = [
        ("s of the POST", f"{result.post_seconds:.2f}"),
        ("s until all are subscribed", f"{result.subscribed_seconds:.1f}"),
        ("  the ramp alone", f"{result.ramp_seconds:.1f}"),
        ("connections / watches", f"{result.connects:,} / {result.watches:,}"),
        (
            "RSS MiB before / after / peak",
            f"{mib(result.before_rss)} / {mib(result.after_rss)} / {mib(result.peak_rss)}",
        ),
        ("longest silence ms before / meanwhile", f"{result.before_gap * 1000:.0f} / {result.gap * 1000:.0f}"),
        *(
            (f"GET {path}: ms p50 / p99", f"{result.p(path, 0.5):.1f} / {result.p(path, 0.99):.1f}")
            for path in result.asked
        ),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    show_aims(console, many_aims(result))


def many_aims(result: many.Result) -> list[Aim]:
    """Return the aims of adding many."""
    return [
        Aim(what="GET /v1/watches p99 ms", value=result.p(many.LIST, 0.99), at_most=MAX_LIST_P99_MS),
        Aim(
            what="until all are subscribed / ramp",
            value=result.subscribed_seconds / result.ramp_seconds,
            at_most=MAX_RAMP_RATIO,
        ),
    ]


def idle_aims(results: Sequence[idle.Result]) -> list[Aim]:
    """Return the aims of idle streams that the programs measured can speak to."""
    aims: list[Aim] = []
    for result in (result for result in results if result.name in DAEMONS):
        what = f"{result.name}, {'TLS' if result.tls else 'plain'}"
        if floor := _floor(results, result):
            ratio = result.per_stream / floor.per_stream
            aims.append(Aim(what=f"{what}: per stream / {floor.name}", value=ratio, at_most=MAX_STREAM_RATIO))
        if result.tls:
            aims.append(Aim(what=f"{what}: RSS MiB", value=result.full_rss / MIB, at_most=MAX_TLS_RSS / MIB))
    return aims


def show_aims(console: Console, aims: Iterable[Aim]) -> None:
    for aim in aims:
        verdict = "[green]met[/]" if aim.met else "[red]missed[/]"
        console.print(f"aim: {aim.what} {aim.value:.2f}, at most {aim.at_most:.1f}: {verdict}")


def by_column(results: Sequence[R], rows: Iterable[tuple[str, Callable[[R], str]]]) -> Table:
    """Return a table with one column for each result; a row is its label and how a result's cell is written."""
    table = Table("", *(result.name for result in results))
    for column in table.columns[1:]:
        column.justify = "right"
    for label, cell in rows:
        table.add_row(label, *(cell(result) for result in results))
    return table


def _floor(results: Iterable[idle.Result], of: idle.Result) -> idle.Result | None:
    """Find bare aiohttp with the same loop and transport."""
    loops = {"daemon": "floor-uvloop", "daemon-asyncio": "floor-asyncio"}
    wanted = loops.get(of.name)
    return next((result for result in results if result.name == wanted and result.tls == of.tls), None)


def mib(size: int) -> str:
    """Write bytes as MiB."""
    return f"{size / MIB:.0f}"


def number(value: float | None, digits: int = 1) -> str:
    """Write a number, or a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def ratio(value: float | None, base: float | None) -> str:
    """Write a ratio, or a dash where there is none."""
    return f"{value / base:.2f}" if value is not None and base else "-"
