"""docs/security.md names tests that there are; SECURITY.md leads to it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_claim_has_a_test_that_there_is() -> None:
    claims = [line for line in PAGE.splitlines() if line.startswith("| ") and "::test_" in line]
    named = [name for line in claims for name in re.findall(r"`([\w/.]+\.py)::(test_\w+)`", line)]
    assert len(claims) > 40
    assert [name for name in named if name[1] not in functions(ROOT / "tests" / name[0])] == []


def test_no_claim_stands_without_a_test() -> None:
    """Each row of a table whose second column is `shown by` names one."""
    for table in re.findall(r"^\| claim \| shown by \|\n\| --- \| --- \|\n((?:\|.*\n)+)", PAGE, re.MULTILINE):
        assert all("::test_" in row for row in table.splitlines()), table


def test_the_policy_leads_to_it() -> None:
    policy = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([\w/.]+)\)", policy)
    assert "docs/security.md" in linked
    assert [path for path in linked if not (ROOT / path).exists()] == []
