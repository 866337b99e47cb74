"""The simulation of cells obeys its own rules, is the same for the same seed, and says what it rests on."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench.cells import budget, placement, stories, storm
from bench.cells.claims import Cell, Policy
from bench.cells.figures import CONNECT_RATE, NODE_TIMEOUT, Figures, Ground
from bench.child import ROOT

KEYS = [placement.digest("vidu", str(number)) for number in range(20_000)]


def cell(policy: Policy = stories.PACED, *, watches: int = 2_000) -> Cell:
    """Return a cell at rest."""
    made = Cell(watches=watches, nodes=4, life=300.0, policy=policy, seed=3)
    made.run(30)
    made.forget()
    return made


def held_once(made: Cell) -> bool:
    """Say whether every watch is held by one node, and by the one that it names, or is free."""
    holders = Counter(pk for node in made.nodes.values() for pk in node.held)
    assert all(count == 1 for count in holders.values())
    return all(
        (pk in made.free) != (pk in holders) and (watch.owner in made.nodes or watch.owner is None)
        for pk, watch in made.watches.items()
    )


@pytest.mark.parametrize("policy", stories.POLICIES, ids=lambda policy: policy.name)
@pytest.mark.parametrize(("name", "story"), stories.STORIES, ids=[name for name, _ in stories.STORIES])
def test_a_watch_is_held_once_whatever_happens(name: str, story: stories.Story, policy: Policy) -> None:
    """Never by two nodes, never by one that is gone, never by nobody and yet not free."""
    made = cell(policy, watches=500)
    story(made)
    assert held_once(made)
    made.settle(60)
    assert held_once(made)


def test_a_cell_at_rest_hands_nothing_over() -> None:
    """Tasks come and go, and shares with them: no reason to move any."""
    made = cell()
    made.run(60)
    assert made.handed == 0


def test_a_joining_node_is_given_its_share_and_no_watch_moves_to_and_fro() -> None:
    made = cell()
    stories.joins(made)
    made.settle(120)
    assert made.settled()
    assert made.handed <= 1.05 * len(made.watches) / 5
    assert made.again <= 0.05 * made.handed


def test_carelessness_is_seen() -> None:
    """Claiming while releasing moves watches to and fro: the simulation can tell good rules from bad."""
    outcomes = [stories.tell("joins", stories.joins, policy, seed=1) for policy in (stories.EACH, stories.CARELESS)]
    assert outcomes[1].again > 10 * outcomes[0].again
    assert outcomes[1].settled > 2 * outcomes[0].settled


def test_the_watches_of_a_dead_node_are_taken_over_after_its_time() -> None:
    """Not before node.timeout, counted from its last sign of life, and not long after."""
    made = cell()
    victim = next(iter(made.nodes.values()))
    pks = set(victim.held)
    made.kill(victim)
    made.run(NODE_TIMEOUT * 0.7)
    assert victim.number in made.nodes
    made.run(NODE_TIMEOUT * 0.7)
    assert victim.number not in made.nodes
    assert all(made.watches[pk].owner != victim.number for pk in pks & made.watches.keys())


def test_an_outage_of_the_database_kills_nobody() -> None:
    """All signs of life are old when it is back: whoever is first must not take the others for dead."""
    careful = cell()
    stories.loses_database(careful)
    careful.settle(60)
    assert careful.handed == 0
    hasty = cell(replace(stories.PACED, grace=False))
    stories.loses_database(hasty)
    hasty.settle(60)
    assert hasty.handed > 1_000


def test_a_node_that_stops_is_followed_at_once() -> None:
    made = cell()
    stories.stops(made)
    made.run(1)
    assert not made.free


def test_the_same_seed_tells_the_same_story() -> None:
    first, second = (stories.tell("dies", stories.dies, stories.PACED, seed=5) for _ in range(2))
    assert asdict(first) == asdict(second)
    assert storm.play(storm.STRATEGIES[-1], seed=5) == storm.play(storm.STRATEGIES[-1], seed=5)


@pytest.mark.parametrize("place", [placement.jump, placement.rendezvous], ids=lambda place: place.__name__)
def test_a_consistent_hash_moves_watches_to_the_new_cell_only(place: placement.Place) -> None:
    """And about as many as it is due."""
    moved = [after for key in KEYS if place(key, 7) != (after := place(key, 8))]
    assert set(moved) == {7}
    assert len(moved) / len(KEYS) == pytest.approx(1 / 8, rel=0.1)


def test_a_new_cell_is_given_slots_evenly() -> None:
    """Nobody else's slots move, and all have as many as the others."""
    before = placement.even_slots(7)
    after = placement.grown(before, 7)
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {7}
    sizes = Counter(after).values()
    assert max(sizes) - min(sizes) <= 1


def test_modulo_moves_nearly_everything() -> None:
    moved = sum(placement.modulo(key, 7) != placement.modulo(key, 8) for key in KEYS)
    assert moved / len(KEYS) == pytest.approx(7 / 8, rel=0.05)


def test_hashing_tasks_is_even_where_hashing_tenants_is_not() -> None:
    found = placement.tenancy(20, random.Random(1))
    assert found.fullest_by_task < 1.1
    assert found.fullest_by_tenant > 20 * found.largest > 1.1


def test_a_ramp_bounds_what_an_upstream_sees() -> None:
    """After a cut, every stream comes back, none is refused, and no second sees more than all nodes may ask."""
    played = storm.play(storm.STRATEGIES[-1], seed=1)
    assert played.peak <= storm.NODES * CONNECT_RATE * 1.1
    assert played.refused == 0
    assert played.all is not None


def test_a_budget_says_what_breaks_first() -> None:
    """Ten times the watches want ten times of everything; the greatest comes first."""
    small, large = (budget.plan(watches, Figures()) for watches in (1_000_000, 10_000_000))
    for one, ten in zip(small.node_demands, large.node_demands, strict=True):
        assert one.what == ten.what
        assert ten.units == pytest.approx(10 * one.units)
    assert list(large.node_demands) == sorted(large.node_demands, key=lambda demand: -demand.units)
    assert large.cells >= large.database_demands[0].units > large.cells - 1


def test_what_rests_on_an_assumption_is_marked() -> None:
    """And is no longer once the figure has been measured."""
    assumed = Figures()
    measured = replace(
        assumed,
        **{
            name: replace(getattr(assumed, name), ground=Ground.MEASURED)
            for name in ("watch_seconds", "changes", "postgres_changes", "upstream_addresses")
        },
    )
    marked = [budget.plan(10_000, figures) for figures in (assumed, measured)]
    assert [any(one.assumed for one in plan.database_demands) for plan in marked] == [True, False]
    assert [any(one.assumed for one in plan.node_demands) for plan in marked] == [True, False]


@pytest.mark.slow
def test_the_command_prints_and_writes_everything(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench.cells", "--json", figures],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = json.loads(figures.read_text())
    assert [plan["watches"] for plan in written["budget"]] == [10**4, 10**5, 10**6, 10**7]
    assert len(written["stories"]) == len(stories.STORIES) * len(stories.POLICIES)
    assert all(name in done.stdout for name in written["figures"])
