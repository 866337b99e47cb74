"""A short run of real processes under faults; `make chaos` makes a long one. The judge has nothing to say."""

from __future__ import annotations

import os
import random

import pytest
from helper_programs import require

from chaos.run import Plan, report, run


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, 3])
async def test_a_short_run(nodes: int) -> None:
    """One node on SQLite, three on PostgreSQL: what happens at which moment differs from run to run."""
    seed = int(os.environ.get("NOTIFIER_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"NOTIFIER_TEST_SEED={seed}")  # shown if the test fails
    plan = Plan(seconds=10, nodes=nodes, seed=seed, rate=15, tasks=20, pauses=(0.1, 0.6), least=4, clock=False)
    outcome = await run(plan, print)
    assert outcome.well, "\n".join(report(outcome))
    assert outcome.events > 50


@pytest.mark.slow
async def test_a_short_run_whose_clock_is_set() -> None:
    """By up to two hours and back, again and again, and under kills; the daemon keeps up."""
    require("faketime")
    plan = Plan(seconds=10, seed=1, rate=15, tasks=20, pauses=(0.1, 0.6), least=4, only=("clock set", "kill"))
    outcome = await run(plan, print)
    assert outcome.well, "\n".join(report(outcome))
    assert outcome.faults["clock set"] >= 2
    assert outcome.events > 50
