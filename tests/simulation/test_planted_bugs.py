"""Runs show every bug that was planted in a copy of the program."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from judge.bugs import Bug
from judge.copies import plant

from simulation.bugs import BUGS, FIRST

TESTS = Path(__file__).parents[1]
MOST = 100  # seeds that are tried, nearly always one or two


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
async def test_planted_bugs_are_found(bug: Bug, tmp_path: Path) -> None:
    """Each by the rule that is for it, within some seeds."""
    plant(bug, tmp_path)
    (rule,) = bug.rules
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, TESTS)))}
    command = ("-m", "simulation", "--first", str(FIRST.get(bug.name, 0)), "--seeds", str(MOST), "--until", rule)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, env=env, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    told, errors = await process.communicate()
    assert f"\n  {rule}: " in told.decode(), (told.decode(), errors.decode())
