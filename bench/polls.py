"""How a polled source asks: the pace that its upstream sees, and what a poll and a waiting watch cost.

    .venv/bin/python -m bench.polls                        # about a minute and a half
    .venv/bin/python -m bench.polls --tasks 10000 --rate 100 --seconds 30
    .venv/bin/python -m bench.polls --batch                # many tasks with each request

The daemon's figures stand beside those of bare aiohttp, which asks the same upstream at the same rate in the same run.
Every task has been seen once before anything is measured. It prints a table and judges nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import aiohttp
from rich.console import Console
from rich.table import Table

from bench.child import Program
from notifier.runtime import loops

SEEN_RATE = 2000.0  # polls a second until every task has been seen
FEW = 100  # tasks of the daemon whose memory is subtracted
PATIENCE = 120.0  # seconds for that
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


@dataclass(slots=True)
class Upstream:
    """Answers each request at once, and remembers when it came."""

    tasks: set[str] = field(default_factory=set)
    times: list[float] = field(default_factory=list)  # of time.perf_counter()
    asked: int = 0  # tasks, in all requests
    errors: int = 0  # requests that could not be understood, or broke off in the middle
    writers: set[asyncio.StreamWriter] = field(default_factory=set)  # of open connections

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection until it closes."""
        self.writers.add(writer)
        try:
            while head := await self._head(reader):
                self.times.append(time.perf_counter())
                if head.startswith(b"POST"):
                    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                    ids = json.loads(await reader.readexactly(length))["ids"]
                    body = json.dumps([{"id": task, "status": "busy"} for task in ids]).encode()
                else:
                    ids = [head.split(b" ", 2)[1].rpartition(b"/")[2].decode()]
                    body = b'{"status":"busy","progress":40,"id":"%s"}' % ids[0].encode()
                self.tasks.update(ids)
                self.asked += len(ids)
                writer.write(REPLY % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, LookupError):
            self.errors += 1
        finally:
            writer.close()
            self.writers.discard(writer)

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        """Return the head of the next request; nothing once there is none."""
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as exc:
            if exc.partial:
                raise
        except ConnectionError:  # a client that was ended
            pass
        return b""

    async def hang_up(self) -> None:
        """Close every connection, and return once nobody serves one."""
        while self.writers:
            for writer in self.writers:
                writer.close()
            await asyncio.sleep(0)

    def begin(self) -> None:
        """Count afresh."""
        self.times.clear()
        self.asked = self.errors = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What an upstream saw of a client in a while, and what the client used."""

    name: str
    polls: int
    tasks: int  # that these asked for, each as often as it was
    errors: int
    most: int  # in any second
    ratio: float  # of the 99th percentile of the gaps to their mean
    cpu: float  # microseconds of a task that is asked for, alone or with others
    rss: int  # bytes


def pace(name: str, upstream: Upstream, cpu: float, rss: int) -> Pace:
    """Sum up the requests of one client."""
    times = upstream.times
    gaps = sorted(after - before for before, after in pairwise(times))
    most, first = 0, 0
    for last, at in enumerate(times):
        while at - times[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return Pace(
        name=name,
        polls=len(times),
        tasks=upstream.asked,
        errors=upstream.errors,
        most=most,
        ratio=gaps[int(0.99 * len(gaps))] / fmean(gaps),
        cpu=cpu / max(1, upstream.asked) * 1e6,
        rss=rss,
    )


def configuration(directory: Path, url: str, tasks: int, rate: float, *, batch: bool, interval: str = "5s") -> Path:
    """Write the daemon's configuration, and return its path."""
    source = {
        "preset": "polled",
        "base_url": url,
        "token": "none",
        "poll": {"interval": interval, "max_interval": interval, "growth": 1, "rate_limit": f"{rate:g}/s"},
    }
    preset = {
        "url": "{base_url}/jobs/{id}",
        "transport": "poll",
        "paths": {"state": "status", "progress": "progress", "task_id": "id"},
        "states": {"running": ["busy"], "succeeded": ["ok"]},
    }
    several = {"batch": {"url": "{base_url}/batch"}} if batch else {}
    settings = {
        "presets": {"polled": preset | several},
        "sources": {"polled": source},
        "watches": [f"task-{number:06}" for number in range(tasks)],
        "store": {"url": f"sqlite:///{directory}/notifier.db"},
        "http": {"listen": None},
        "log": {"level": "warning"},
    }
    path = directory / "polls.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return path


async def measure(program: Program, name: str, upstream: Upstream, seconds: float) -> Pace:
    """Watch a program at work."""
    await asyncio.sleep(2.0)
    upstream.begin()
    before = program.weigh()
    await asyncio.sleep(seconds)
    after = program.weigh()
    return pace(name, upstream, after.cpu - before.cpu, after.rss)


async def daemon(directory: Path, upstream: Upstream, url: str, options: argparse.Namespace, tasks: int) -> Pace:
    """Run the daemon: fast until it has seen every task, then at the rate that is measured."""
    config = configuration(directory, url, tasks, SEEN_RATE, batch=options.batch)
    command = [sys.executable, "-m", "notifier", "run", "-c", str(config)]
    upstream.tasks.clear()
    with Program(command, log=directory / "daemon.log") as program:
        deadline = time.monotonic() + PATIENCE
        while len(upstream.tasks) < tasks and time.monotonic() < deadline:
            program.require()
            await asyncio.sleep(0.5)
        configuration(directory, url, tasks, options.rate, batch=options.batch)
        program.signal(signal.SIGHUP)
        await asyncio.sleep(3.0)
        return await measure(program, f"daemon, {tasks} tasks", upstream, options.seconds if tasks > FEW else 3.0)


async def bare(directory: Path, upstream: Upstream, url: str, options: argparse.Namespace) -> Pace:
    """Run bare aiohttp at the same rate."""
    command = [sys.executable, "-m", "bench.polls", "--ask", url, "--rate", str(options.rate)]
    command += ["--tasks", str(options.tasks)]
    with Program(command, log=directory / "bare.log") as program:
        return await measure(program, "bare aiohttp", upstream, options.seconds)


async def ask(url: str, tasks: int, rate: float) -> None:
    """Poll with bare aiohttp, one request after another at fixed times."""
    loop = asyncio.get_running_loop()
    seen: dict[str, str] = {}

    async def one(session: aiohttp.ClientSession, task: str) -> None:
        async with session.get(f"{url}/jobs/{task}") as response:
            seen[task] = json.loads(await response.read())["status"]

    async with aiohttp.ClientSession(headers={"Authorization": "Bearer none"}) as session:
        begun, number = loop.time(), 0
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(one(session, f"task-{number % tasks:06}"), name="poll")
                number += 1
                await asyncio.sleep(begun + number / rate - loop.time())


async def compare(options: argparse.Namespace) -> list[Pace]:
    """Measure the daemon without tasks, the daemon, and bare aiohttp."""
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for made in ("empty", "full"):
            (directory / made).mkdir()
        empty = await daemon(directory / "empty", upstream, url, options, FEW)
        full = await daemon(directory / "full", upstream, url, options, options.tasks)
        other = await bare(directory, upstream, url, options)
    server.close()
    await upstream.hang_up()
    return [empty, full, other]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--batch", action="store_true")
    parser.add_argument("--ask", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        with loops.runner() as runner:
            runner.run(ask(options.ask, options.tasks, options.rate))
        return
    empty, full, other = asyncio.run(compare(options))
    table = Table(
        "", "polls", "tasks a poll", "errors", "most in a second", "p99 of gaps / mean", "CPU µs a task", "MiB"
    )
    for each in (full, other):
        table.add_row(
            each.name,
            str(each.polls),
            f"{each.tasks / max(1, each.polls):.1f}",
            str(each.errors),
            str(each.most),
            f"{each.ratio:.2f}",
            f"{each.cpu:.0f}",
            f"{each.rss / 2**20:.0f}",
        )
    console = Console()
    console.print(f"{options.tasks} tasks, at most {options.rate:g} polls a second, measured for {options.seconds:g} s")
    console.print(table)
    if full.tasks:
        console.print(f"polls of the daemon for a round of all tasks: {full.polls * options.tasks / full.tasks:.0f}")
    console.print(f"CPU of a task asked for: {full.cpu / other.cpu:.2f} times bare aiohttp's")
    console.print(f"memory of a polled watch: {(full.rss - empty.rss) / (options.tasks - FEW) / 1024:.2f} KiB")


if __name__ == "__main__":
    main()
