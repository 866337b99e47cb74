"""The rate of deliveries that a receiver accepts while it refuses a share: daemon, upstream and receiver on 127.0.0.1.

    .venv/bin/python -m bench.goodput                                  # under a minute
    .venv/bin/python -m bench.goodput --shares 1,5,10,33 --answers 429,500,503,timeout,mixture
    .venv/bin/python -m bench.goodput --root ../other-checkout         # another version's daemon, to compare

Two jobs are measured. In the first one, tasks report changes at a steady rate; its figure is the number of callbacks
that the receiver accepted in a second. In the second one, sixty tasks report three states each; its figure is the time
until all were accepted. It prints a table and judges nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web
from rich.console import Console
from rich.table import Table

from bench.child import ROOT
from bench.programs import SECRET
from bench.server import database

WARM_SECONDS = 3.0  # that do not count
LATENCY = 0.02  # seconds until the receiver answers
IN_FLIGHT = {"steady": 32, "burst": 8}
TASKS, STATES = 60, ("queueing", "processing", "success")
TIMEOUT = 1.0  # seconds of an attempt, where the receiver does not answer
PATIENCE = 60.0  # seconds for the burst
STATE_SECONDS = 0.3  # from one state of a task to the next
BATCH_SECONDS = 0.2
START_SECONDS = 60.0
MIXTURE = ("429", "500", "502", "503", "504", "timeout")


@dataclass(slots=True)
class Receiver:
    """Refuses a share of its requests at random."""

    share: float
    answers: Sequence[str]
    rng: random.Random
    enough: int = 1 << 30  # accepted callbacks that set `done`
    done: asyncio.Event = field(default_factory=asyncio.Event)
    accepted: list[float] = field(default_factory=list)
    requests: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a callback."""
        await request.read()
        self.requests += 1
        if self.rng.random() < self.share:
            answer = self.rng.choice(self.answers)
            if answer == "timeout":
                await asyncio.sleep(3 * TIMEOUT)
                answer = "504"
            return web.Response(status=int(answer))
        await asyncio.sleep(LATENCY)
        self.accepted.append(time.monotonic())
        if len(self.accepted) >= self.enough:
            self.done.set()
        return web.Response()


async def stream(request: web.Request) -> web.StreamResponse:
    """Report the states of a task, some time apart."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for state in STATES if "burst-" in request.path_qs else STATES[1:]:
        await response.write(f"data: {json.dumps({'state': state})}\n\n".encode())
        await asyncio.sleep(STATE_SECONDS)
    return response


@asynccontextmanager
async def served(receiver: Receiver) -> AsyncIterator[str]:
    """Serve the upstream and the receiver; yield the base URL."""
    app = web.Application()
    app.router.add_post("/hooks", receiver.handle)
    app.router.add_get("/{path:.*}", stream)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def configuration(base: str, directory: Path, *, in_flight: int, schedule: Sequence[str], store: str) -> Path:
    """Write the daemon's configuration, and return its path."""
    endpoint = {
        "type": "webhook",
        "url": f"{base}/hooks",
        "secrets": [SECRET],
        "events": ["task.*"],
        "timeout": f"{TIMEOUT}s",
        "max_in_flight": in_flight,
        "retry_schedule": list(schedule),
    }
    settings = {
        "sources": {"vidu": {"preset": "vidu", "base_url": base, "token": "none", "connect_rate": 1000}},
        "endpoints": {"app": endpoint},
        "store": {"url": store},
        "node": {"name": directory.name},
        "http": {"listen": "127.0.0.1:0"},
        "log": {"level": "warning"},
        "shutdown_timeout": "1s",
    }
    path = directory / "goodput.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return path


@asynccontextmanager
async def daemon(root: Path, config: Path) -> AsyncIterator[str]:
    """Run a daemon; yield the URL of its API."""
    log = config.with_suffix(".log")
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "notifier",
            "run",
            "-c",
            str(config),
            "--migrate",
            cwd=root,
            stdout=output,
            stderr=output,
        )
    try:
        yield await _address(process.pid)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _address(pid: int) -> str:
    """Return the URL on which a process listens, once its API is ready."""
    import psutil

    deadline = time.monotonic() + START_SECONDS
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline:
            for one in psutil.Process(pid).net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN:
                    url = f"http://127.0.0.1:{one.laddr.port}"
                    async with session.get(f"{url}/readyz") as response:
                        if response.status == 200:
                            return url
            await asyncio.sleep(0.05)
    raise TimeoutError("the daemon does not become ready")


async def steady(receiver: Receiver, urls: Sequence[str], seconds: float, rate: float) -> str:
    """Add tasks at an even rate; return the accepted callbacks a second, and how many were left behind."""
    began, added = time.monotonic(), 0
    async with aiohttp.ClientSession() as session:
        while (passed := time.monotonic() - began) < WARM_SECONDS + seconds:
            due = int(passed * rate / 2)
            watches = [{"source": "vidu", "id": f"steady-{number}"} for number in range(added, due)]
            if watches:
                url = urls[int(passed / BATCH_SECONDS) % len(urls)]
                async with session.post(f"{url}/v1/watches", json=watches) as response:
                    response.raise_for_status()
            added = max(added, due)
            await asyncio.sleep(BATCH_SECONDS)
    end = time.monotonic()
    goodput = sum(at >= end - seconds for at in receiver.accepted) / seconds
    return f"{goodput:.0f}/s, {2 * added - len(receiver.accepted)} behind"


async def burst(receiver: Receiver, urls: Sequence[str], _seconds: float, _rate: float) -> str:
    """Add all tasks at once; return how long it takes until every state was accepted."""
    receiver.enough = TASKS * len(STATES)
    watches = [{"source": "vidu", "id": f"burst-{number}"} for number in range(TASKS)]
    began = time.monotonic()
    async with aiohttp.ClientSession() as session:
        for number, url in enumerate(urls):
            async with session.post(f"{url}/v1/watches", json=watches[number :: len(urls)]) as response:
                response.raise_for_status()
    try:
        async with asyncio.timeout(PATIENCE):
            await receiver.done.wait()
    except TimeoutError:
        return f"{len(receiver.accepted)} of {receiver.enough} in {PATIENCE:.0f} s"
    return f"{receiver.accepted[-1] - began:.1f} s"


JOBS = {"steady": steady, "burst": burst}


async def measure(job: str, answer: str, share: float, options: argparse.Namespace) -> tuple[str, int]:
    """Run one job with daemons of its own; return its figure, and the requests that it took."""
    receiver = Receiver(share, MIXTURE if answer == "mixture" else (answer,), random.Random(1))
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        base = await stack.enter_async_context(served(receiver))
        if options.nodes > 1:
            store = stack.enter_context(database(options.postgres)).url
        else:
            store = f"sqlite:///{directory / 'notifier.db'}"
        urls = []
        for number in range(options.nodes):
            own = directory / f"n{number}"
            own.mkdir()
            config = configuration(base, own, in_flight=IN_FLIGHT[job], schedule=options.schedule, store=store)
            urls.append(await stack.enter_async_context(daemon(options.root, config)))
        figure = await JOBS[job](receiver, urls, options.seconds, options.rate)
        return figure, receiver.requests


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", default="steady,burst", help="of steady, burst")
    parser.add_argument("--answers", default="503", help="statuses, timeout, mixture")
    parser.add_argument("--shares", default="10,50", help="refused, in percent")
    parser.add_argument("--rate", type=float, default=100.0, help="changes a second of the steady job")
    parser.add_argument("--seconds", type=float, default=6.0, help="that the steady job is measured")
    parser.add_argument("--nodes", type=int, default=1, help="more than one needs --postgres")
    parser.add_argument("--postgres", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--schedule", default="0s" + ",1s" * 99, help="of retries")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout whose daemon is measured")
    options = parser.parse_args()
    options.schedule = options.schedule.split(",")
    table = Table("job", "answer", "refused", "accepted", "requests")
    for job in options.jobs.split(","):
        for answer in options.answers.split(","):
            for percent in options.shares.split(","):
                figure, requests = asyncio.run(measure(job, answer, float(percent) / 100, options))
                table.add_row(job, answer, f"{percent} %", figure, str(requests))
                print(job, answer, f"{percent} %:", figure, f"{requests} requests", file=sys.stderr, flush=True)
    Console().print(table)


if __name__ == "__main__":
    main()
