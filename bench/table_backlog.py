"""The figures of a backlog as a person reads them. Prints; decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from bench.backlog import Claims, Result
from bench.table import MIB, Aim, by_column, show_aims

MAX_RSS = 300 * MIB
MAX_CLAIM_RATIO = 1.5  # of a claim among all to one among few
MAX_SLOWER = 1.1  # by which a store with few drains faster


def show(console: Console, results: Sequence[Result]) -> None:
    """Print one column for each database."""
    console.print(f"\n[bold]Backlog[/]: {results[0].full.pending:,} pending deliveries")
    rows: list[tuple[str, Callable[[Result], str]]] = [
        *(
            (f"claim among {claims.pending:,}: ms p50 / max", lambda r, n=n: _claim(r.claims[n]))
            for n, claims in enumerate(results[0].claims)
        ),
        ("callbacks/s, few / all", lambda r: f"{r.short.rate:,.0f} / {r.full.rate:,.0f}"),
        ("  watched, s", lambda r: f"{r.short.seconds:.1f} / {r.full.seconds:.1f}"),
        ("CPU us / callback", lambda r: f"{r.short.cpu_us:.0f} / {r.full.cpu_us:.0f}"),
        ("start to first callback, s", lambda r: f"{r.short.first_seconds:.1f} / {r.full.first_seconds:.1f}"),
        ("RSS MiB, peak", lambda r: f"{r.short.peak_rss / MIB:.0f} / {r.full.peak_rss / MIB:.0f}"),
        ("load average", lambda r: f"{r.short.load_average:.1f} / {r.full.load_average:.1f}"),
        ("seeding, s", lambda r: f"{r.seed_seconds:.0f}"),
    ]
    console.print(by_column(results, rows))
    for result in results:
        console.print(f"the claim's plan, {result.name}:")
        console.print("\n".join(f"  {line}" for line in result.plan), markup=False, highlight=False)
    show_aims(console, aims(results))


def aims(results: Sequence[Result]) -> list[Aim]:
    """Return the aims of a backlog."""
    return [
        aim
        for result in results
        for aim in (
            Aim(what=f"{result.name}: RSS MiB", value=result.full.peak_rss / MIB, at_most=MAX_RSS / MIB),
            Aim(
                what=f"{result.name}: claim among all / among few",
                value=result.claims[-1].p50_ms / result.claims[0].p50_ms,
                at_most=MAX_CLAIM_RATIO,
            ),
            Aim(
                what=f"{result.name}: callbacks/s of few / of all",
                value=result.short.rate / result.full.rate,
                at_most=MAX_SLOWER,
            ),
        )
    ]


def _claim(claims: Claims) -> str:
    return f"{claims.p50_ms:.1f} / {claims.max_ms:.1f}"
