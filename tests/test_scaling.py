"""docs/scaling.md quotes the simulation truly, names units and keys that exist, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bench.cells import budget, placement, stories
from bench.cells.__main__ import SEED, SIZES, size
from bench.cells.figures import Figures

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "scaling.md"


def row(first: str) -> list[str]:
    """Return the cells of the table row that begins so."""
    found = re.search(rf"^\| {re.escape(first)}[^|]*\|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    assert found, first
    return [cell.strip() for cell in found[1].split("|")]


def test_the_way_to_ten_million_is_what_the_simulation_says() -> None:
    plans = [budget.plan(watches, Figures()) for watches in SIZES]
    node = [{demand.what: f"{demand.units:.2f}" for demand in plan.node_demands} for plan in plans]
    assert row("open watches") == [f"{plan.watches:,}" for plan in plans]
    assert row("changes/s") == [f"{plan.changes:,.0f}" for plan in plans]
    assert row("streams opened/s") == [f"{plan.arrivals:,.0f}" for plan in plans]
    assert row("nodes that CPU") == [found["CPU"] for found in node]
    assert row("nodes that memory") == [found["memory"] for found in node]
    assert row("nodes that 4 upstream") == [found["ports to an upstream"] for found in node]
    assert row("nodes that 524,032") == [found["open files"] for found in node]
    assert row("cells x nodes") == [f"{plan.cells} x {plan.nodes}" for plan in plans]
    assert row("streams of a node") == [f"{plan.streams:,.0f}" for plan in plans]
    assert row("kept in 7 days, by cell") == [size(plan.disk) for plan in plans]


@pytest.mark.parametrize(
    ("first", "story"),
    [
        ("a quiet minute", stories.quiet),
        ("a sixth node joins", stories.joins),
        ("a node is killed", stories.dies),
        ("a node is stopped", stories.stops),
        ("PostgreSQL is away", stories.loses_database),
    ],
)
def test_what_happens_to_a_cell_is_what_the_simulation_says(first: str, story: stories.Story) -> None:
    told = stories.tell(first, story, stories.PACED, seed=SEED)
    page = PAGE.read_text().partition("How a cell behaves")[2]
    found = re.search(rf"^\| {re.escape(first)}[^|]*\|([^|]*)\|([^|]*)\|([^|]*)\|$", page, re.MULTILINE)
    assert found
    handed, settled, dark = (part.strip() for part in found.groups())
    assert handed.startswith(f"{told.handed:,}")
    if told.handed:
        assert settled == f"{told.settled:.0f} s"
        assert dark == f"{told.dark_p50:.1f} s, {told.dark_p99:.1f} s"


def test_slots_move_as_little_as_the_page_says() -> None:
    cells = budget.plan(SIZES[-1], Figures()).cells
    moved = {spread.way: f"{spread.moved:.1%}" for spread in placement.compare(cells)}
    text = " ".join(PAGE.read_text().split())
    assert f"takes over {moved['slots'].replace('%', ' %')} of the new tasks" in text
    assert f"division moves {round(float(moved['modulo'].rstrip('%')))} %" in text


def test_links_lead_somewhere() -> None:
    """To files that exist, and to headings that stand in them."""
    for target in re.findall(r"\]\(([^)]+)\)", PAGE.read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (PAGE.parent / name).resolve() if name else PAGE
        assert path.exists(), target
        headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE) if anchor else []
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, target


def test_examples_of_configuration_have_keys_that_exist() -> None:
    """Each yaml block is a part of a configuration."""
    known = yaml.safe_load((ROOT / "config.example.yaml").read_text())
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        for section, keys in yaml.safe_load(block).items():
            assert set(keys) <= set(known[section]), section
