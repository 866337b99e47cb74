"""Runs seeds: `python -m simulation --seeds 200`, or one of them again, `--seed 7`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from simulation.run import Result, run
from simulation.year import long_run

COMMAND = "make simulate SEED={}"


def main() -> int:
    """Run what was asked for; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--until", metavar="RULE", help="stop at the first seed that breaks this rule of the judge")
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--days", type=float, help="run one seed for so many days, few of them eventful")
    parser.add_argument("--trace", type=Path, help="write the trace of the one seed to this file")
    given = parser.parse_args()
    if given.days is not None:
        result = long_run(given.seed or 0, days=given.days)
        print(f"{_told(result)}; {result.seconds / 86400:.1f} days, {result.steps} steps")
        return int(bool(result.findings))
    if given.seed is not None:
        result = run(given.seed, lines=given.trace is not None)
        if given.trace is not None:
            given.trace.write_text("".join(result.lines), encoding="utf-8")
        print(_told(result))
        return int(bool(result.findings))
    began, failed, steps, seconds = time.monotonic(), 0, 0, 0.0
    for seed in range(given.first, given.first + given.seeds):
        result = run(seed)
        steps, seconds = steps + result.steps, seconds + result.seconds
        if result.findings:
            failed += 1
            print(_told(result), flush=True)
            if given.until is not None and any(each.startswith(f"{given.until}:") for each in result.findings):
                break
        elif sys.stdout.isatty():
            print(f"\r{seed}", end="", flush=True)
    took = time.monotonic() - began
    print(f"{given.seeds} seeds: {failed} failed; {seconds / 3600:.1f} hours, {steps} steps, in {took:.0f} s")
    return int(failed > 0)


def _told(result: Result) -> str:
    verdict = "kept every promise" if not result.findings else "\n  " + "\n  ".join(result.findings)
    again = f"\n  again: {COMMAND.format(result.seed)}" if result.findings else ""
    return f"seed {result.seed}, trace {result.trace}: {verdict}{again}"


if __name__ == "__main__":
    sys.exit(main())
