"""The command, `python -m bench.cells`: play, reckon, and print what people can check."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.cells import budget, placement, stories, storm
from bench.cells.budget import Budget, Demand
from bench.cells.figures import GIB, KIB, MIB, Figures

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
SEED = 1
DAY = 86_400


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.cells", description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED, help=f"of all that is random ({SEED})")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    return parser.parse_args(arguments)


def table(title: str, *columns: str) -> Table:
    """Make a table whose first column is text and whose others are numbers."""
    made = Table(columns[0], title=title, title_justify="left", title_style="bold")
    for column in columns[1:]:
        made.add_column(column, justify="right")
    return made


def seconds(value: float | None) -> str:
    """Write a time, or that there is none."""
    return "-" if value is None else f"{value:.1f}"


def size(value: float) -> str:
    """Write bytes."""
    for unit, name in ((1e12, "TB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if value >= unit:
            return f"{value / unit:.1f} {name}"
    return f"{value:.0f} B"


def demand(one: Demand) -> str:
    """Write how many of something are wanted; a star marks what rests on an assumption."""
    return f"{one.what} {one.units:,.2f}{'*' if one.assumed else ''}"


ROWS: Sequence[tuple[str, Callable[[Budget], str]]] = (
    ("changes/s *", lambda b: f"{b.changes:,.0f}"),
    ("new watches/s, streams opened/s *", lambda b: f"{b.arrivals:,.0f}"),
    ("nodes wanted, by what breaks first", lambda b: "\n".join(map(demand, b.node_demands))),
    ("databases wanted, likewise", lambda b: "\n".join(map(demand, b.database_demands))),
    ("cells x nodes, one of which may die *", lambda b: f"{b.cells} x {b.nodes}"),
    ("of a node: streams", lambda b: f"{b.streams:,.0f}"),
    ("  memory", lambda b: size(b.memory)),
    ("  streams opened/s *", lambda b: f"{b.connects:,.0f}"),
    ("of a cell: commits/s *", lambda b: f"{b.commits:,.0f}"),
    ("  rows written/s *", lambda b: f"{b.rows:,.0f}"),
    ("  WAL/s *", lambda b: size(b.wal)),
    ("  dead row versions/s *", lambda b: f"{b.dead_rows:,.0f}"),
    ("  kept in 7 days *", lambda b: size(b.disk)),
    ("  retention that 1 TB holds *", lambda b: f"{b.keeps / DAY:,.1f} d"),
    ("  heartbeats/s, if all is quiet", lambda b: f"{b.heartbeats:.1f}"),
    ("  PostgreSQL connections", lambda b: f"{b.connections:.0f}"),
    ("  NOTIFY/s, if new watches were told of *", lambda b: f"{b.notifies:,.0f}"),
    ("a node dies: watches to claim", lambda b: f"{b.takeover_rows:,.0f}"),
    ("  s to reopen at connect_rate 200/s", lambda b: f"{b.takeover_seconds:,.0f}"),
    ("  connect_rate to reopen within 30 s", lambda b: f"{b.takeover_rate:,.0f}/s"),
    ("a cut: connects/s that upstreams see", lambda b: f"{b.storm:,.0f}"),
)


def show_budget(console: Console, plans: Sequence[Budget], figures: Figures) -> None:
    """Print what sizes cost, and on which grounds."""
    made = table("What so many watches cost", "", *(f"{plan.watches:,}" for plan in plans))
    for what, write in ROWS:
        made.add_row(what, *(write(plan) for plan in plans))
    console.print(made)
    console.print("* rests on an assumption: multiply. What everything rests on:", style="dim")
    for name, ground in budget.grounds(figures).items():
        console.print(f"  {name}: {ground}", style="dim", highlight=False, markup=False)


def show_placement(
    console: Console, spreads: Sequence[placement.Spread], chance: tuple[float, float], cells: int
) -> None:
    """Print how even the ways of hashing are."""
    made = table(f"One more cell than {cells}", "hash", "fullest", "emptiest", "moved", "least possible")
    for spread in spreads:
        made.add_row(
            spread.way,
            f"{spread.fullest:.3f}",
            f"{spread.emptiest:.3f}",
            f"{spread.moved:.1%}",
            f"{spread.least:.1%}",
        )
    made.add_row("even hash, 10,000,000 drawn", f"{chance[0]:.3f}", f"{chance[1]:.3f}", "", "")
    console.print(made)
    console.print(
        f"by the mean of all cells; {placement.SAMPLE:,} ids hashed (rendezvous {placement.SMALL_SAMPLE:,}), so that "
        "a good hash is uneven by chance alone",
        style="dim",
    )


def show_stories(console: Console, outcomes: Sequence[stories.Outcome]) -> None:
    """Print what happens to a cell."""
    made = table(
        f"A cell of {stories.NODES} nodes and {stories.WATCHES:,} watches of {stories.LIFE:.0f} s",
        *("story", "releases", "handed over", "least", "again", "settled s"),
        *("dark p50", "p99", "max", "new p99"),
    )
    for number, one in enumerate(outcomes):
        first = number % len(stories.POLICIES) == 0
        made.add_row(
            one.story if first else "",
            one.policy,
            f"{one.handed:,}",
            f"{one.least:,}",
            f"{one.again:,}",
            seconds(one.settled),
            *(seconds(value) for value in (one.dark_p50, one.dark_p99, one.dark_max, one.new_p99)),
            end_section=(number + 1) % len(stories.POLICIES) == 0,
        )
    console.print(made)
    for name, meaning in stories.MEANINGS.items():
        console.print(f"  {name}: {meaning}", style="dim", highlight=False)
    console.print(
        "handed over: claims of watches that another node had; least: what the best rules would take, had no task ended"
        " meanwhile; again: handed over for a second time; dark: s without a stream; new: s until a new task has one",
        style="dim",
    )


def show_storm(console: Console, returns: Sequence[storm.Return]) -> None:
    """Print how streams come back."""
    made = table(
        f"{storm.STREAMS:,} streams of {storm.NODES} nodes, cut for {storm.CUT:.0f} s; the upstream takes "
        f"{storm.CAPACITY:,.0f}/s",
        *("comes back", "attempts a stream", "asked/s, peak", "refused", "s to 50 %", "99 %", "all"),
    )
    for one in returns:
        made.add_row(
            one.strategy,
            f"{one.attempts:.1f}",
            f"{one.peak:,.0f}",
            f"{one.refused:,}",
            *(seconds(value) for value in (one.half, one.most, one.all)),
        )
    console.print(made)
    console.print(f"- : not within {storm.LONGEST:.0f} s", style="dim")


def main() -> int:
    """Play everything, print it, and write it down if asked to."""
    options = parse(sys.argv[1:])
    console = Console(width=None if sys.stdout.isatty() else 140)
    begun = time.monotonic()
    figures = Figures()
    plans = [budget.plan(watches, figures) for watches in SIZES]
    show_budget(console, plans, figures)
    cells = plans[-1].cells
    rng = random.Random(options.seed)
    spreads = placement.compare(cells)
    chance = placement.chance(SIZES[-1], cells, rng)
    show_placement(console, spreads, chance, cells)
    tenancy = placement.tenancy(cells, rng)
    console.print(
        f"Of {placement.TENANTS:,} tenants by Zipf's law ({placement.ZIPF}) the first has {tenancy.largest:.0%}; the "
        f"fullest cell has {tenancy.fullest_by_task:.2f} of the mean by task, {tenancy.fullest_by_tenant:.1f} by tenant"
    )
    outcomes = [
        stories.tell(name, story, policy, seed=options.seed)
        for name, story in stories.STORIES
        for policy in stories.POLICIES
    ]
    show_stories(console, outcomes)
    returns = [storm.play(strategy, seed=options.seed) for strategy in storm.STRATEGIES]
    show_storm(console, returns)
    console.print(f"{time.monotonic() - begun:.0f} s, seed {options.seed}", style="dim")
    if options.json:
        found: dict[str, Any] = {
            "seed": options.seed,
            "figures": asdict(figures),
            "budget": [asdict(plan) for plan in plans],
            "placement": [asdict(spread) for spread in spreads],
            "chance": chance,
            "tenancy": asdict(tenancy),
            "stories": [asdict(outcome) for outcome in outcomes],
            "storm": [asdict(one) for one in returns],
        }
        options.json.write_text(json.dumps(found, indent=1, default=lambda ground: ground.value) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
