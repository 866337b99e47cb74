"""One run: faults for some time, then peace, until all is settled; then the verdict."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from judge import Case, Finding, Received, Said, verdict
from judge.database import read
from judge.order import causes
from waits import PATIENCE, measured_lag

from chaos.clock import clock_library
from chaos.disk import Disk
from chaos.faults import Struck, faults
from chaos.scribe import Scribe
from chaos.site import Node, Site, site
from chaos.workload import Workload

QUIET = 1.0  # seconds at the end in which nothing more may come


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is to be."""

    seconds: float
    nodes: int = 1
    seed: int = 0
    rate: float = 30.0  # moves of tasks a second
    tasks: int = 40  # at a time
    least: int = 0  # faults, however long they take
    clock: bool = True  # set it, where one node can have one of its own
    only: tuple[str, ...] = ()  # the faults to deal, by name; none: all that are possible
    pauses: tuple[float, float] = (0.2, 2.0)  # seconds between faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it."""

    findings: Sequence[Finding]
    left: str | None  # what was not settled in time
    errors: Sequence[str]  # that nodes logged
    faults: Mapping[str, int]
    repeats: Mapping[str, int]  # by what explains them
    said: int
    received: int
    events: int
    usage: Mapping[str, Sequence[tuple[int, int]]]  # by node: KiB of memory and descriptors, at start and end

    @property
    def well(self) -> bool:
        """Return whether everything was as promised."""
        return not self.findings and not self.errors and self.left is None


async def run(plan: Plan, tell: Callable[[str], None], record: Path | None = None) -> Outcome:
    """Make a run, and tell what is done."""
    dice = random.Random(plan.seed)
    began = time.monotonic()

    def say(text: str) -> None:
        tell(f"{time.monotonic() - began:7.2f} s  {text}")

    scribe = Scribe(record)
    try:
        with tempfile.TemporaryDirectory(prefix="notifier-chaos-") as place:
            async with AsyncExitStack() as stack:
                disk = await _disk(Path(place) / "a", stack, say) if plan.nodes == 1 else None
                clock = clock_library() is not None and plan.clock
                if clock_library() is None and plan.nodes == 1:
                    say("libfaketime is not installed: clocks are not set")
                chosen = site(Path(place), scribe, random.Random(plan.seed + 1), nodes=plan.nodes, clock=clock)
                made = await stack.enter_async_context(chosen)
                lag = await stack.enter_async_context(measured_lag(scribe.late))
                return await _run(plan, made, dice, disk, say, lag)
    finally:
        scribe.close()


async def _disk(place: Path, stack: AsyncExitStack, say: Callable[[str], None]) -> Disk | None:
    disk = Disk(place)
    if not await disk.mount():
        say("no disk can be mounted here: none becomes full")
        return None
    stack.push_async_callback(disk.unmount)
    return disk


async def _run(
    plan: Plan,
    made: Site,
    dice: random.Random,
    disk: Disk | None,
    say: Callable[[str], None],
    lag: Callable[[], float],
) -> Outcome:
    await asyncio.gather(*(made.start(node) for node in made.nodes.values()))
    manners = made.receiver.manners
    manners.refuse, manners.cut, manners.hang, manners.slow = 50, 20, 2, 50
    workload = Workload(made, random.Random(plan.seed + 2), rate=plan.rate, tasks=plan.tasks)
    moving = asyncio.create_task(workload.run(), name="workload")
    usage = {name: [node.usage()] for name, node in made.nodes.items()}
    counts = await _strike(plan, made, dice, disk, say, moving)
    say("peace")
    moving.cancel()
    await asyncio.wait({moving})
    manners.refuse = manners.cut = manners.hang = manners.slow = 0
    await workload.finish()
    left = await _settled(made)
    say("all is settled" if left is None else f"not settled: {left}")
    await asyncio.sleep(QUIET)
    for name, node in made.nodes.items():
        usage[name].append(node.usage())
    for node in made.nodes.values():
        await made.stop(node)
    made.note_takeovers()
    case = Case(made.scribe.entries, read(made.url or made.database), made.terms(slack=0.02 + lag()))
    return Outcome(
        findings=verdict(case),
        left=left,
        errors=made.errors(),
        faults=counts,
        repeats=causes(case),
        said=sum(isinstance(entry, Said) for entry in made.scribe.entries),
        received=sum(isinstance(entry, Received) for entry in made.scribe.entries),
        events=len(case.events),
        usage=usage,
    )


async def _strike(
    plan: Plan,
    made: Site,
    dice: random.Random,
    disk: Disk | None,
    say: Callable[[str], None],
    moving: asyncio.Task[None],
) -> Counter[str]:
    """Strike one fault after the other. Which, where and how long is the seed's; what it meets is not."""
    node = next(iter(made.nodes.values()))
    possible = faults(disk=disk is not None, clock=node.clock is not None, database=made.url is not None)
    if unknown := set(plan.only) - possible.keys():
        raise ValueError(f"no such faults here: {', '.join(sorted(unknown))}; there are {', '.join(possible)}")
    counts: Counter[str] = Counter()
    end = time.monotonic() + plan.seconds
    names = [name for name in possible if not plan.only or name in plan.only]
    dice.shuffle(names)
    while (time.monotonic() < end or counts.total() < plan.least) and not moving.done():
        await asyncio.sleep(dice.uniform(*plan.pauses))
        name, node = names[sum(counts.values()) % len(names)], dice.choice(list(made.nodes.values()))
        say(f"{name} ({node.name})")
        await possible[name](Struck(made, node, dice, disk))
        counts[name] += 1
        if not sum(counts.values()) % len(names):
            dice.shuffle(names)
    if moving.done():
        moving.result()
    return counts


async def _settled(made: Site) -> str | None:
    """Wait until every task has ended and every delivery is settled; return what is left when patience ends."""
    end = time.monotonic() + PATIENCE
    while (left := await asyncio.to_thread(made.left)) is not None and time.monotonic() < end:  # noqa: ASYNC110  # rows tell nobody
        await asyncio.sleep(0.1)
    return left


def report(outcome: Outcome, nodes: Sequence[Node] = ()) -> list[str]:
    """Return the lines that tell what came of a run."""
    lines = [
        f"{outcome.said} snapshots said, {outcome.events} events, {outcome.received} callbacks received",
        "faults: " + ", ".join(f"{name} {count}" for name, count in sorted(outcome.faults.items())),
        f"repeats: {sum(outcome.repeats.values())}"
        + "".join(f", {count} by {cause}" for cause, count in sorted(outcome.repeats.items())),
    ]
    for name, used in outcome.usage.items():
        lines += [
            f"node {name}: {before[0] / 1024:.1f} -> {after[0] / 1024:.1f} MiB, {before[1]} -> {after[1]} descriptors"
            for before, after in pairwise(used)
        ]
    lines += [f"error: {line}" for line in outcome.errors]
    if outcome.left is not None:
        lines.append(f"not settled: {outcome.left}")
    lines += [str(finding) for finding in outcome.findings]
    lines.append(
        "the judge is silent: nothing lost, invented or reordered, every repeat explained"
        if outcome.well
        else f"{len(outcome.findings)} findings"
    )
    return lines
