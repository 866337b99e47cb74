"""What happens to a cell, played by the rules of `claims`: a node joins, dies, stops, is paused, all are restarted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.cells.claims import Cell, Policy
from bench.cells.figures import CONNECT_RATE
from bench.tally import percentile

NODES = 5
WATCHES = 20_000
LIFE = 300.0  # seconds of a task
WARM = 60.0  # seconds until a cell is at rest
LONG = 240.0  # seconds that a story may take to settle
OUTAGE = 30.0  # seconds
PAUSE = 15.0  # seconds; longer than node.timeout

AT_ONCE = Policy(name="at once", claim_slack=0.0, release_slack=0.0, release_rate=float(WATCHES))
EACH = Policy(name="each", claim_slack=0.0, release_slack=0.05, release_rate=0.8 * CONNECT_RATE)
PACED = Policy(name="paced", claim_slack=0.0, release_slack=0.05, release_rate=None)
AHEAD = Policy(name="paced, 1 s ahead", claim_slack=0.0, release_slack=0.05, release_rate=None, ahead=1.0)
CARELESS = Policy(
    name="careless",
    claim_slack=0.02,
    release_slack=0.05,
    release_rate=0.8 * CONNECT_RATE,
    claims_while_releasing=True,
    grace=False,
)
POLICIES = (AT_ONCE, EACH, PACED, AHEAD, CARELESS)
MEANINGS = {
    AT_ONCE.name: "releases all above its share at once, at the first watch too many",
    EACH.name: "releases when 5 % above its share, each node at 80 % of connect_rate",
    PACED.name: "the same, but no faster than the newcomer opens streams (connect_rate shared by those that release)",
    AHEAD.name: "the same, and nobody claims more than it can open within a second",
    CARELESS.name: "as each, but claims 2 % over its share, and also while it releases; and declares others dead"
    " as soon as the database is back",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a story went. Dark: without a stream, of watches that had one; new: until a new task has its first."""

    story: str
    policy: str
    handed: int  # claims of watches that another node held before
    least: int | None  # what even the best rules would take; None: not defined
    again: int  # hand-overs of watches that had been handed over before
    settled: float  # seconds until shares are even and all streams open
    dark_p50: float | None
    dark_p99: float | None
    dark_max: float | None
    new_p99: float | None


Story = Callable[[Cell], int | None]


def quiet(cell: Cell) -> int:
    """Let a minute pass."""
    cell.run(60)
    return 0


def joins(cell: Cell) -> int:
    """Let one more node join."""
    cell.join()
    return len(cell.watches) // len(cell.nodes)


def dies(cell: Cell) -> int:
    """Kill a node."""
    victim = next(iter(cell.nodes.values()))
    cell.kill(victim)
    return len(victim.held)


def stops(cell: Cell) -> int:
    """Stop a node in an orderly way."""
    victim = next(iter(cell.nodes.values()))
    held = len(victim.held)
    cell.stop(victim)
    return held


def pauses(cell: Cell) -> int:
    """Let a node stand still for longer than `node.timeout`, then go on: it loses all, and gets a share back."""
    victim = next(iter(cell.nodes.values()))
    held = len(victim.held)
    cell.pause(victim)
    cell.run(PAUSE)
    cell.proceed(victim)
    return 2 * held


def restarts(cell: Cell) -> int:
    """Restart every node, one after the other, each when the one before has settled."""
    least = 0
    for victim in list(cell.nodes.values()):
        least += 2 * len(victim.held)
        cell.stop(victim)
        cell.run(3)
        cell.join()
        cell.settle(LONG)
    return least


def dies_often(cell: Cell) -> int:
    """Kill a node and start it again, every half minute, four times."""
    least = 0
    for _ in range(4):
        victim = max(cell.nodes.values(), key=lambda node: node.number)
        least += 2 * len(victim.held)
        cell.kill(victim)
        cell.run(2)
        cell.join()
        cell.run(28)
    return least


def loses_database(cell: Cell) -> int:
    """Restart the database, slowly."""
    cell.lose_database(OUTAGE)
    return 0


STORIES: Sequence[tuple[str, Story]] = (
    ("a quiet minute", quiet),
    ("a node joins", joins),
    ("a node is killed", dies),
    ("a node is stopped", stops),
    ("a node is paused for 15 s", pauses),
    ("PostgreSQL is away for 30 s", loses_database),
    ("all are restarted in turn", restarts),
    ("one dies every 30 s, 4 times", dies_often),
)


def tell(name: str, story: Story, policy: Policy, *, seed: int) -> Outcome:
    """Play one story."""
    cell = Cell(watches=WATCHES, nodes=NODES, life=LIFE, policy=policy, seed=seed)
    cell.run(WARM)
    cell.forget()
    least = story(cell)
    settled = cell.settle(LONG)
    dark, new = sorted(cell.dark), sorted(cell.new)
    return Outcome(
        story=name,
        policy=policy.name,
        handed=cell.handed,
        least=least,
        again=cell.again,
        settled=settled,
        dark_p50=percentile(dark, 0.5),
        dark_p99=percentile(dark, 0.99),
        dark_max=percentile(dark, 1.0),
        new_p99=percentile(new, 0.99),
    )
