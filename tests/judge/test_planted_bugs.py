"""The judge finds every bug that was planted in a copy of the program, and none in a copy as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from waits import PATIENCE

from judge.bugs import BUGS, Bug
from judge.copies import plant, serving_forks
from judge.script import perform

SEED = 7
QUIET = 4.0  # seconds in which nothing happens any more: a bug may keep the run from its end

pytestmark = pytest.mark.unmeasured


async def _verdict(bug: Bug | None, folder: Path, patience: float) -> list[str]:
    plant(bug, folder)
    with serving_forks(folder) as server:
        run = folder / "run"
        run.mkdir()
        return [str(finding) for finding in await perform(run, server, seed=SEED, patience=patience)]


async def test_the_program_as_it_is_has_none(tmp_path: Path) -> None:
    """The judge is silent."""
    assert await _verdict(None, tmp_path, PATIENCE) == []


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name.replace(" ", "-") for bug in BUGS])
async def test_a_planted_bug_is_found(bug: Bug, tmp_path: Path) -> None:
    """By one of the rules that are for it."""
    findings = await _verdict(bug, tmp_path, QUIET)
    rules = {finding.partition(":")[0] for finding in findings}
    assert rules & bug.rules, findings
    print(f"{bug.name}: {sorted(rules)}, {len(findings)} findings")


def test_there_are_twenty() -> None:
    """At least, each of its own name."""
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 20
