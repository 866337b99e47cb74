"""The judge finds every bug that was planted in a copy of the program, and none in a copy as it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from waits import PATIENCE

from judge.bugs import BUGS, Bug
from judge.copies import plant, serving_forks
from judge.script import perform

SEED = 7
QUIET = 4.0  # seconds in which nothing happens any more: a bug may keep the run from its end
RUNS = 3  # in each of which the judge allows for as much as this process was late
TOGETHER = 6  # bugs that are tried at the same time, each in a run of its own: a run mostly waits

pytestmark = pytest.mark.slow


async def _verdict(bug: Bug | None, folder: Path, patience: float) -> list[str]:
    await asyncio.to_thread(plant, bug, folder)
    with serving_forks(folder) as server:
        run = folder / "run"
        run.mkdir()
        return [str(finding) for finding in await perform(run, server, seed=SEED, patience=patience)]


async def test_the_program_as_it_is_has_none(tmp_path: Path) -> None:
    """The judge is silent."""
    assert await _verdict(None, tmp_path, PATIENCE) == []


@pytest.mark.parametrize("first", range(0, len(BUGS), TOGETHER))
async def test_planted_bugs_are_found(first: int, tmp_path: Path) -> None:
    """Each by one of the rules that are for it, in one of a few runs: a machine that stood still may hide a moment."""
    missed: dict[str, object] = {}
    left = [*BUGS[first : first + TOGETHER]]
    for turn in range(RUNS):
        verdicts = await asyncio.gather(
            *(_verdict(bug, tmp_path / f"{turn}-{number}", QUIET) for number, bug in enumerate(left)),
            return_exceptions=True,
        )
        missed = {}
        for bug, findings in zip(left, verdicts, strict=True):
            if isinstance(findings, BaseException):
                missed[bug.name] = repr(findings)
                continue
            rules = {finding.partition(":")[0] for finding in findings}
            print(f"{bug.name}: {sorted(rules)}, {len(findings)} findings")
            if not rules & bug.rules:
                missed[bug.name] = findings
        left = [bug for bug in left if bug.name in missed]
        if not left:
            break
    assert missed == {}


def test_there_are_twenty() -> None:
    """At least, each of its own name."""
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 20
