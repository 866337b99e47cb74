"""docs/scaling.md does its arithmetic right, names keys that exist, and its links lead somewhere."""

from __future__ import annotations

import re
from math import ceil
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "scaling.md"


def row(first: str) -> list[str]:
    """Return the cells of the table row that begins so."""
    found = re.search(rf"^\| {re.escape(first)}[^|]*\|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    assert found, first
    return [cell.strip() for cell in found[1].split("|")]


SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
# The figures that the page's arithmetic names, in seconds and bytes.
TASK, CHANGES, CHANGE_CPU, CONNECT_CPU, PLANNED = 300, 3, 600e-6, 900e-6, 0.6
STREAM, DAEMON, MACHINE = 57.2 * 2**10, 90 * 2**20, 8 * 2**30
PORTS, ADDRESSES, FILES = 28_000, 4, 524_288 - 256 - 2_048
POSTGRES, KEPT, RETENTION = 5_000, 1.3 * 2**10, 7 * 86_400


def size(amount: float) -> str:
    """Write bytes as the page does: in TB from one on, else in GiB."""
    return f"{amount / 1e12:.1f} TB" if amount >= 1e12 else f"{amount / 2**30:.1f} GiB"


def test_the_way_to_ten_million_is_what_the_arithmetic_says() -> None:
    rates = [watches / TASK for watches in SIZES]
    cpu = [rate * (CHANGES * CHANGE_CPU + CONNECT_CPU) / PLANNED for rate in rates]
    memory = [watches * STREAM / (MACHINE - DAEMON) for watches in SIZES]
    ports = [watches / (PORTS * ADDRESSES) for watches in SIZES]
    files = [watches / FILES for watches in SIZES]
    cells = [max(1, ceil(rate * CHANGES / (POSTGRES * PLANNED))) for rate in rates]
    needed = [ceil(max(wants) / n) for *wants, n in zip(cpu, memory, ports, files, cells, strict=True)]
    nodes = [n + 1 if n > 1 else 1 for n in needed]
    assert row("open watches") == [f"{watches:,}" for watches in SIZES]
    assert row("changes/s") == [f"{rate * CHANGES:,.0f}" for rate in rates]
    assert row("streams opened/s") == [f"{rate:,.0f}" for rate in rates]
    assert row("nodes that CPU") == [f"{n:.2f}" for n in cpu]
    assert row("nodes that memory") == [f"{n:.2f}" for n in memory]
    assert row("nodes that 4 upstream") == [f"{n:.2f}" for n in ports]
    assert row("nodes that 521,984") == [f"{n:.2f}" for n in files]
    assert row("cells x nodes") == [f"{c} x {n}" for c, n in zip(cells, nodes, strict=True)]
    assert row("streams of a node") == [f"{w / c / n:,.0f}" for w, c, n in zip(SIZES, cells, nodes, strict=True)]
    assert row("kept in 7 days, by cell") == [
        size(rate * CHANGES / c * KEPT * RETENTION) for rate, c in zip(rates, cells, strict=True)
    ]


def test_a_table_of_slots_moves_as_little_as_the_page_says() -> None:
    cells = ceil(SIZES[-1] / TASK * CHANGES / (POSTGRES * PLANNED))
    text = " ".join(PAGE.read_text().split())
    # A new cell takes its share and no more; a remainder stays only where both divisions leave the same.
    assert f"a new, {cells + 1}th cell then takes over {1 / (cells + 1):.1%}".replace("%", " %") in text.lower()
    stay = sum(n % cells == n % (cells + 1) for n in range(cells * (cells + 1))) / (cells * (cells + 1))
    assert f"division moves {1 - stay:.0%}".replace("%", " %") in text


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
