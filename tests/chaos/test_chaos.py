"""A short run of real processes under faults; `make chaos` makes a long one. The judge has nothing to say."""

from __future__ import annotations

import os
import random

import pytest

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
