"""`python -m chaos`: real processes under faults, and the judge's verdict. `make chaos` calls it."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
from pathlib import Path

from chaos.run import Outcome, Plan, report, run


def main() -> int:
    """Run as asked; the exit code tells whether the judge was silent."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--nodes", type=int, choices=(1, 2, 3, 4, 5), default=1)
    parser.add_argument("--seed", type=int, default=None, help="of the faults; the usual one is drawn and printed")
    parser.add_argument("--rate", type=float, default=30.0, help="changes of tasks a second")
    parser.add_argument(
        "--clock", action=argparse.BooleanOptionalAction, default=True, help="set the clock of one node"
    )
    parser.add_argument("--record", type=Path, default=None, help="a file for the record, JSON lines")
    parser.add_argument("--only", action="append", default=[], help="deal this fault, such as 'clock set'; repeatable")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"make chaos MINUTES={given.minutes:g} NODES={given.nodes} SEED={seed}", flush=True)
    plan = Plan(
        seconds=given.minutes * 60,
        nodes=given.nodes,
        seed=seed,
        rate=given.rate,
        clock=given.clock,
        only=tuple(given.only),
    )
    outcome = asyncio.run(_run(plan, given.record))
    print("\n".join(report(outcome)))
    return 0 if outcome.well else 1


async def _run(plan: Plan, record: Path | None) -> Outcome:
    """Make the run; SIGTERM ends it as Ctrl-C does, with its processes and its disk."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(plan, lambda text: print(text, flush=True), record)


if __name__ == "__main__":
    sys.exit(main())
