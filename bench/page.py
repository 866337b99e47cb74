"""The tables of docs/performance.md, written from the figures of a sweep: `python -m bench.page`. Prose stays."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench import aims, figures
from bench.child import ROOT
from bench.figures import JOB, RATES, STREAMS, Figures, Row
from bench.programs import GO, SCRIPT

PAGE = ROOT / "docs" / "performance.md"
COMPARED = (aims.DAEMON, SCRIPT, GO)
COMMAND = "python -m bench.sweep"
NOTHING = "Not measured."
PLANNED = 0.6  # of what a core can do: the rest is for peaks, restarts and a neighbour's death


def render(text: str, told: Figures) -> str:
    """Return the page with every part between `<!-- figures: NAME -->` and `<!-- end -->` written anew."""

    def part(found: re.Match[str]) -> str:
        return f"{found[1]}\n{PARTS[found[2]](told)}\n{found[3]}"

    return re.sub(r"(<!-- figures: (\w+) -->)\n.*?(<!-- end -->)", part, text, flags=re.DOTALL)


def machine(told: Figures) -> str:
    """Say where and when it was measured, and whether the machine did anything else."""
    about = told.machine
    lines = [
        f"Measured {about['at'][:10]} by `{COMMAND}`: {about['cores']} cores, Python {about['python']}, "
        f"{about['filesystem']}, `fdatasync` {about['sync_p50_ms']:.2f} ms. The program, its upstream and its receiver "
        "share the cores."
    ]
    if told.busy:
        lines.append(
            f"**The machine was busy**: others used {told.others_cores:.2f} cores meanwhile. Latency and saturation "
            "are far worse than on a machine at rest, and CPU is somewhat worse; only ratios and memory say something."
        )
    if told.left_out:
        lines.append("Left out: " + "; ".join(told.left_out) + ".")
    return "\n\n".join(lines)


def goals(told: Figures) -> str:
    """Write the aims beside the figures before and now."""
    rows = []
    for goal in aims.goals(told):
        verdict = {None: "not measured", True: "met", False: "missed"}[goal.met]
        bound = f"{'at least' if goal.least else 'at most'} {_figure(goal.aim)}{goal.unit}"
        rows.append(
            (
                goal.figure,
                goal.before + (goal.unit if goal.before != "-" else ""),
                _figure(goal.now) + (goal.unit if goal.now is not None else ""),
                bound,
                verdict,
            )
        )
    return _table(("figure", "before", "now", "aim", ""), rows)


def capacity(told: Figures) -> str:
    """Say what one process does."""
    full, row = aims.saturation(told, aims.DAEMON), told.at(JOB, aims.DAEMON)
    kib = aims.stream_kib(told, aims.DAEMON)
    lines = []
    if full is not None and row is not None:
        lines += [
            f"- **{_figure(full)} changes a second** saturate it; plan for {PLANNED:.0%} of that, "
            f"{_figure(full * PLANNED)}.",
            f"- **{_figure(row.cpu_us)} us of CPU** is what a change costs at {_figure(row.rate)}/s, "
            f"{_figure(row.loop_us)} of them on the event loop's thread, which is the limit.",
        ]
    if kib is not None and told.empty_mib is not None:
        lines.append(f"- **{_figure(told.empty_mib)} MiB**, and {_figure(kib)} KiB for each open stream without TLS.")
    return "\n".join(lines)


def job(told: Figures) -> str:
    """Write the job, one column for each program."""
    programs = told.of(JOB)
    if not programs:
        return NOTHING
    amount = f"{programs[0].streams:,} streams, {_figure(programs[0].rate)} changes/s:"
    lines: list[tuple[str, Callable[[Row], float | None]]] = [
        ("CPU of a change, us", lambda row: row.cpu_us),
        ("CPU in all, s", lambda row: row.cpu_s),
        ("memory at its peak, MiB", lambda row: row.peak_mib),
        ("latency p50, ms", lambda row: row.p50_ms),
        ("latency p99, ms", lambda row: row.p99_ms),
        ("saturation, changes/s", lambda row: aims.saturation(told, row.program)),
    ]
    body = [(label, *(_figure(figure(row)) for row in programs)) for label, figure in lines]
    return f"{amount}\n\n{_table(('', *(row.program for row in programs)), body)}"


def rates(told: Figures) -> str:
    """Write CPU and latency against the rate offered."""
    offered = sorted({row.rate for row in told.of(RATES)})
    if not offered:
        return NOTHING
    amount = f"{told.of(RATES)[0].streams:,} streams open:"
    body = []
    for rate in offered:
        rows = [told.at(RATES, program, rate=rate) for program in COMPARED]
        cpu = [row and row.cpu_us for row in rows]
        ratios = [aims.ratio(cpu[0], base) for base in cpu[1:]]
        latency = [_latency(row) for row in rows]
        body.append((_figure(rate), *map(_figure, (*cpu, *ratios)), *latency))
    head = ("changes/s", *(f"CPU us, {name}" for name in COMPARED), "/ script", "/ go")
    return f"{amount}\n\n{_table((*head, *(f'p99 ms, {name}' for name in COMPARED)), body)}"


def streams(told: Figures) -> str:
    """Write memory and cost against the number of open streams."""
    body = []
    if not told.of(STREAMS):
        return NOTHING
    amount = f"{_figure(told.of(STREAMS)[0].rate)} changes/s:"
    for size in sorted({row.streams for row in told.of(STREAMS)}):
        rows = [told.at(STREAMS, program, streams=size) for program in COMPARED]
        memory = [_figure(row and row.open_mib) for row in rows]
        cost = [_figure(row and row.cpu_us) for row in rows]
        rest = None if rows[0] is None or rows[0].rest_cores is None else rows[0].rest_cores * 100
        body.append((_figure(size), *memory, *cost, _figure(rest)))
    head = ("open streams", *(f"MiB, {name}" for name in COMPARED), *(f"CPU us a change, {name}" for name in COMPARED))
    return f"{amount}\n\n{_table((*head, 'core at rest, %, daemon'), body)}"


def calls(told: Figures) -> str:
    """Write the calls of a change by room."""
    if not told.calls:
        return NOTHING
    total = sum(told.calls.values())
    body = [(room, _figure(each), f"{each / total:.0%}") for room, each in told.calls.items()]
    return _table(("room or library", "calls", "of all"), [*body, ("all", _figure(total), "")])


PARTS: dict[str, Callable[[Figures], str]] = {
    part.__name__: part for part in (machine, goals, capacity, job, rates, streams, calls)
}


def _latency(row: Row | None) -> str:
    return "-" if row is None else _figure(row.p99_ms) + (" (saturated)" if row.saturated else "")


def _figure(value: float | None) -> str:
    """Write a number with about three digits."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 or value == round(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Write the page's tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--json", type=Path, default=figures.FILE)
    args = parser.parse_args()
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), figures.load(args.json)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
