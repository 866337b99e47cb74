"""A file of very many watches is reloaded while streams flow: what it costs, and what the others feel of it.

    .venv/bin/python -m bench.reloading                        # 100,000 watches; some minutes
    .venv/bin/python -m bench.reloading --watches 10000

The watches are mappings with labels and metadata. Four reloads follow each other: all of them are added, nothing has
changed, a label of each has changed, all are removed. Each is asked for by `notifier reload`. It prints a table and
judges nothing but that command.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from rich.console import Console
from rich.table import Table

from bench.child import ROOT, BenchError, Program
from bench.many import CHANGES, OPEN_SECONDS, note, silence
from bench.programs import SECRET, TOKEN, free_port
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript, snapshot

EVERY = 0.5  # seconds between two changes of a stream that flows
FLOWING = 50  # streams
USUAL_SECONDS = 10.0  # for which the silence before is looked for
AFTER_SECONDS = 6.0  # that the daemon is watched after the command's answer, while it begins to follow what is new
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One reload; times in seconds, memory in bytes."""

    name: str
    seconds: float  # of the command
    said: str  # its last line
    cpu: float  # of the daemon and of processes of its own, without what the streams take
    before_rss: int
    peak_rss: int
    usual_gap: float  # the longest silence of the flowing streams before the first reload
    gap: float  # the same from the beginning of the command until it was answered, and a little longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What the streams that flow take."""

    cpu: float  # seconds a second
    gap: float  # the longest silence, in seconds


def text(count: int, team: str) -> str:
    """Return a file of watches, as people and programs write it."""
    each = "- id: '{0}'\n  source: many\n  labels:\n    team: {1}\n    user: u{0}\n  metadata:\n    order: {0}\n"
    return "".join(each.format(2370487727000000 + number, team) for number in range(count)) or "[]\n"


async def measure(watches: int, directory: Path) -> list[Row]:
    """Measure all reloads. Raises BenchError if one fails."""
    gc.freeze()
    arrivals: list[float] = []
    turns = tuple(snapshot(("queueing", "processing")[number % 2]) for number in range(CHANGES))
    simulator = Simulator(
        transcript=Transcript(snapshots=(snapshot("queueing"),)),
        transcripts={"flow-*": Transcript(snapshots=turns)},
        interval=EVERY,
        jitter=0.5,
        keep_open=True,
    )
    async with simulator as upstream, Listener(secrets=[SECRET], on_callback=lambda told: note(arrivals, told)) as out:
        api = f"http://127.0.0.1:{free_port()}"
        config = configuration(directory, upstream.base_url, out.url, api)
        run = [sys.executable, "-m", "notifier", "run", "-c", str(config)]
        with Program(run, log=directory / "output.log") as program:
            async with aiohttp.ClientSession(api) as http:
                await program.ready(http, within=OPEN_SECONDS)
            await upstream.wait_open(FLOWING, timeout=OPEN_SECONDS)
            with spending(program.pid) as spent:
                await asyncio.sleep(USUAL_SECONDS)
            usual = Usual(cpu=spent[0] / USUAL_SECONDS, gap=silence(arrivals, time.monotonic() - USUAL_SECONDS))
            changes = {
                "all added": text(watches, "video"),
                "nothing changed": text(watches, "video"),
                "a label of each changed": text(watches, "music"),
                "all removed": text(0, ""),
            }
            rows = []
            for name, new in changes.items():
                (directory / "watches.yaml").write_text(new, encoding="utf-8")
                rows.append(await _reload(name, program, config, arrivals, usual))
            return rows


async def _reload(name: str, program: Program, config: Path, arrivals: list[float], usual: Usual) -> Row:
    before = program.weigh()
    forget_peak(program.pid)
    began = time.monotonic()
    with spending(program.pid) as spent:
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "notifier", "reload", "-c", str(config)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await command.communicate()
        seconds = time.monotonic() - began
        if command.returncode != 0:
            raise BenchError(f"notifier reload: {command.returncode} {said.decode()[-300:]}")
        await asyncio.sleep(AFTER_SECONDS)
    return Row(
        name=name,
        seconds=seconds,
        said=said.decode().strip().splitlines()[-1].strip(),
        cpu=spent[0] - usual.cpu * (time.monotonic() - began),
        before_rss=before.rss,
        peak_rss=program.weigh().peak,
        usual_gap=usual.gap,
        gap=silence(arrivals, began),
    )


def forget_peak(pid: int) -> None:
    """Let the peak of a process's memory begin anew (proc(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


@contextmanager
def spending(pid: int) -> Iterator[list[float]]:
    """Yield a list that holds, in the end, the CPU seconds of a process, with those of its children that have ended."""
    spent: list[float] = []
    before = psutil.Process(pid).cpu_times()
    yield spent
    spent.append(sum(psutil.Process(pid).cpu_times()[:4]) - sum(before[:4]))


def configuration(directory: Path, upstream: str, callback: str, api: str) -> Path:
    """Write the daemon's configuration, with no watches but those that flow; return its path."""
    source = {"preset": "vidu", "base_url": upstream, "token": TOKEN, "idle_timeout": "10m"}
    settings = {
        "sources": {"flow": source | {"default": True}, "many": source | {"max_streams": 1, "connect_rate": 1}},
        "endpoints": {"app": {"type": "webhook", "url": callback, "secrets": [SECRET]}},
        "watches": [f"flow-{number}" for number in range(FLOWING)],
        "watch_files": ["watches.yaml"],
        "store": {"url": f"sqlite:///{directory / 'notifier.db'}"},
        "http": {"listen": api.removeprefix("http://")},
        "log": {"format": "json", "level": "warning"},
        "shutdown_timeout": "5s",
    }
    (directory / "watches.yaml").write_text(text(0, ""), encoding="utf-8")
    path = directory / "bench.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return path


def show(console: Console, rows: list[Row]) -> None:
    """Print the table."""
    table = Table("reload", "answered, s", "CPU, s", "RSS before, MiB", "peak, MiB", "silence, s", "before, s", "said")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.seconds:.1f}",
            f"{row.cpu:.1f}",
            f"{row.before_rss / MIB:.0f}",
            f"{row.peak_rss / MIB:.0f}",
            f"{row.gap:.2f}",
            f"{row.usual_gap:.2f}",
            row.said,
        )
    console.print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watches", type=int, default=100_000)
    parser.add_argument("--directory", type=Path, default=ROOT / "build" / "bench", help="on a real disk")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        show(Console(), asyncio.run(measure(options.watches, Path(directory))))


if __name__ == "__main__":
    main()
