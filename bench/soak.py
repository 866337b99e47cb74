"""What a daemon keeps of watches that have ended: many a second for many minutes, with memory, descriptors and tasks.

Watches come by the API. The upstream tells two states of each and ends the stream, and the receiver takes the
callbacks; both are in this process, and keep nothing of a task. Figures of the first quarter do not count: caches fill.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from aiohttp import web
from rich.console import Console
from rich.table import Table

from bench.child import BenchError, Program
from bench.programs import TOKEN, free_port, write_configuration

BATCH_SECONDS = 0.2  # between two requests that add watches
SAMPLE_SECONDS = 5.0
STATES = ("processing", "success")
STATE_SECONDS = 0.5  # from one state to the next
START_SECONDS = 60.0
END_SECONDS = 60.0  # for the last callbacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The daemon at one moment."""

    seconds: float  # since the beginning
    ended: int  # watches, in all
    rss: int  # bytes
    descriptors: int
    threads: int
    tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The figures."""

    rate: float  # watches a second that were added
    minutes: float
    added: int
    completed: int  # whose last callback came
    samples: tuple[Sample, ...]

    @property
    def settled(self) -> Sequence[Sample]:
        """Return the samples that count."""
        return self.samples[len(self.samples) // 4 :]

    @property
    def slope(self) -> float:
        """Return the bytes of memory that a watch leaves behind: the slope of a line through the samples."""
        points = [(sample.ended, sample.rss) for sample in self.settled]
        mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
        spread = sum((x - mean_x) ** 2 for x, _ in points)
        return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


class Ends:
    """The upstream and the receiver."""

    def __init__(self) -> None:
        self.completed = 0
        self.address = ""
        self._completed = asyncio.Event()  # set at each completion
        app = web.Application()
        app.router.add_post("/hooks", self._receive)
        app.router.add_get("/{path:.*}", self._stream)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)

    async def __aenter__(self) -> Ends:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        self.address = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        if (await request.json())["type"] == "task.succeeded":
            self.completed += 1
            self._completed.set()
        return web.Response()

    async def wait(self, count: int) -> None:
        """Return once so many tasks have completed."""
        while self.completed < count:
            self._completed.clear()
            await self._completed.wait()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for state in STATES:
            await response.write(f"data: {json.dumps({'state': state})}\n\n".encode())
            await asyncio.sleep(STATE_SECONDS)
        return response


def measure(*, rate: float, minutes: float, directory: Path) -> Result:
    """Add `rate` watches a second for so many minutes. Raises BenchError."""
    try:
        return asyncio.run(_measure(rate, minutes, directory))
    except TimeoutError as exc:
        raise BenchError("it did not get there in time") from exc


async def _measure(rate: float, minutes: float, directory: Path) -> Result:
    gc.freeze()
    api, tasks = f"http://127.0.0.1:{free_port()}", directory / "tasks"
    async with Ends() as ends:
        command = _command(directory, ends.address, api, tasks)
        with Program(command, log=directory / "output.log") as program:
            async with aiohttp.ClientSession(api) as http:
                await program.ready(http, within=START_SECONDS)
                began, added = time.monotonic(), 0
                samples: list[Sample] = []
                while (passed := time.monotonic() - began) < minutes * 60:
                    due = int(passed * rate)
                    if due > added:
                        await _add(http, range(added, due))
                        added = due
                    if passed >= SAMPLE_SECONDS * (len(samples) + 1):
                        samples.append(_sample(program, passed, ends.completed, tasks))
                    await asyncio.sleep(BATCH_SECONDS)
                with contextlib.suppress(TimeoutError):  # it was too slow; its figures say how it was all the same
                    async with asyncio.timeout(END_SECONDS):
                        await ends.wait(added)
    return Result(rate=rate, minutes=minutes, added=added, completed=ends.completed, samples=tuple(samples))


def _command(directory: Path, ends: str, api: str, tasks: Path) -> list[str]:
    source = {"preset": "vidu", "base_url": ends, "token": TOKEN, "connect_rate": 2_000}
    path = write_configuration(directory, source, callback=f"{ends}/hooks", api=api)
    return [sys.executable, "-m", "bench.counted", str(tasks), "run", "-c", str(path)]


async def _add(http: aiohttp.ClientSession, numbers: range) -> None:
    watches = [{"id": f"soak-{n}", "labels": {"team": "video"}, "metadata": {"order": n}} for n in numbers]
    async with http.post("/v1/watches", json=watches) as reply:
        if reply.status != 201:
            raise BenchError(f"POST /v1/watches: {reply.status} {(await reply.text())[:200]}")


def _sample(program: Program, seconds: float, ended: int, tasks: Path) -> Sample:
    weight = program.weigh()
    process = psutil.Process(program.pid)
    return Sample(
        seconds=seconds,
        ended=ended,
        rss=weight.rss,
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        tasks=int(tasks.read_text(encoding="ascii")),
    )


def show(console: Console, result: Result) -> None:
    """Print a dozen of the samples, and the slope."""
    table = Table("minutes", "watches ended", "RSS, MiB", "descriptors", "threads", "tasks")
    for sample in result.samples[:: max(1, len(result.samples) // 12)]:
        table.add_row(
            f"{sample.seconds / 60:.1f}",
            f"{sample.ended:,}",
            f"{sample.rss / (1 << 20):.1f}",
            str(sample.descriptors),
            str(sample.threads),
            str(sample.tasks),
        )
    console.print(table)
    settled = f"memory by watch, without the first quarter: {result.slope:.0f} bytes"
    console.print(f"{result.completed:,} of {result.added:,} watches completed, {result.rate:g} a second; {settled}")
