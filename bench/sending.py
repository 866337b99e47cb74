"""What a durable, signed callback costs beside POSTs that nobody keeps.

    .venv/bin/python -m bench.sending                 # half a minute

The daemon sends a backlog of SQLite: each callback is claimed, signed, sent, judged, and its verdict committed. Beside
it stand the floors of `bench.posting`, against the same receiver in the same run. It prints a table and judges nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from bench import posting
from bench.backlog import drain
from bench.child import ROOT, BenchError
from bench.loadgen import Receiver
from bench.programs import SECRET
from bench.seeding import seed
from bench.tally import Callback

AT_ONCE = 32  # POSTs: an endpoint's `max_in_flight`
DAEMON = "daemon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The figures of one program."""

    name: str
    cpu_us: float  # of one callback
    rate: float  # callbacks a second

    @property
    def per_core(self) -> float:
        """Return the callbacks that a second of CPU is enough for."""
        return 1e6 / self.cpu_us


async def floor(kind: str, count: int) -> Cost:
    """Measure a floor. Raises BenchError."""
    callbacks: list[Callback] = []
    receiver = await asyncio.get_running_loop().create_server(lambda: Receiver(callbacks), "127.0.0.1", 0)
    async with receiver:
        url = f"http://127.0.0.1:{receiver.sockets[0].getsockname()[1]}/callback"
        given = ("--kind", kind, "--url", url, "--secret", SECRET, "--count", str(count), "--at-once", str(AT_ONCE))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.posting", *given, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        told, _ = await process.communicate()
    if process.returncode or len(callbacks) != count + posting.WARM:
        raise BenchError(f"{kind}: status {process.returncode}, {len(callbacks)} callbacks")
    figures = json.loads(told)
    return Cost(name=kind, cpu_us=figures["cpu"] / count * 1e6, rate=count / figures["seconds"])


def daemon(directory: Path, pending: int) -> Cost:
    """Measure the daemon. Raises BenchError."""
    url = f"sqlite:///{directory / 'notifier.db'}"
    seed(url, pending)
    own = directory / "run"
    own.mkdir()
    drained = drain(url, pending, own)
    return Cost(name=DAEMON, cpu_us=drained.cpu_us, rate=drained.rate)


def measure(directory: Path, count: int, rounds: int) -> list[Cost]:
    """Return the best of some rounds of each program: what else the machine does only adds."""
    best: dict[str, Cost] = {}
    for number in range(rounds):
        own = directory / str(number)
        own.mkdir()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            costs = [runner.run(floor(kind, count)) for kind in posting.KINDS]
        for cost in (*costs, daemon(own, count)):
            if cost.name not in best or cost.cpu_us < best[cost.name].cpu_us:
                best[cost.name] = cost
    return list(best.values())


def show(console: Console, costs: list[Cost]) -> None:
    """Print a row for each program."""
    console.print(f"\n[bold]Sending[/]: {AT_ONCE} at once")
    table = Table("program", "CPU us / callback", "callbacks / s and core", "/ daemon", "callbacks / s")
    for column in table.columns[1:]:
        column.justify = "right"
    ours = next(cost for cost in costs if cost.name == DAEMON)
    for cost in costs:
        ratio = cost.per_core / ours.per_core
        table.add_row(cost.name, f"{cost.cpu_us:.0f}", f"{cost.per_core:,.0f}", f"{ratio:.2f}", f"{cost.rate:,.0f}")
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40_000, help="callbacks of each program (40000)")
    parser.add_argument("--rounds", type=int, default=3, help="of each program, of which the best counts (3)")
    options = parser.parse_args()
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as directory:
        show(Console(), measure(Path(directory), options.count, options.rounds))


if __name__ == "__main__":
    main()
