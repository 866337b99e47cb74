"""What clients that wait for the end of tasks cost the daemon: long polls of `GET /v1/watches/{source}/{id}/wait`.

    .venv/bin/python -m bench.waits                          # about three minutes
    .venv/bin/python -m bench.waits --waiters 1000 --rate 100 --seconds 30

One daemon follows as many tasks as there are waiters, first without them and then with one for each: at rest, and while
states change at the rate and are told to a webhook. At the end every task succeeds, and each waiter has to be answered.
The upstream, the receiver and the waiters are in the measuring process. It prints a table, and fails only if a waiter
was not answered rightly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.table import Table

from bench.child import BenchError, Program, allow_descriptors
from notifier.core.signing import new_secret
from notifier.runtime import loops
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

PATIENCE = 120.0  # seconds for each step
PERIOD = 1.0  # seconds
CALM = 3  # periods on end, before something is measured
RESTING = 0.03  # cores that are used at rest
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the daemon used in a while."""

    cores: float
    rss: int  # bytes at the end
    told: float  # callbacks a second


class Site:
    """The upstream, the receiver and the daemon."""

    def __init__(
        self, *, simulator: Simulator, receiver: Listener, program: Program, http: aiohttp.ClientSession
    ) -> None:
        self.simulator, self.receiver, self.program, self.http = simulator, receiver, program, http
        self.states: defaultdict[str, str] = defaultdict(lambda: "queueing")  # of the tasks, each of which began so

    async def _rest(self) -> None:
        """Return once the daemon has done what it was asked for: it used little CPU in each of the last periods."""
        calm = 0
        async with asyncio.timeout(PATIENCE):
            while calm < CALM:
                before = self.program.weigh().cpu
                await asyncio.sleep(PERIOD)
                calm = calm + 1 if self.program.weigh().cpu - before <= RESTING * PERIOD else 0

    async def measure(self, tasks: list[str], *, rate: float, seconds: float) -> Cost:
        """Weigh the daemon while states change, which happens `rate` times a second."""
        await self._rest()
        loop = asyncio.get_running_loop()
        before, began, received = self.program.weigh(), loop.time(), self.receiver.counts["received"]
        changing = cycle(tasks)
        done = 0
        while loop.time() < began + seconds:
            while rate and done < (loop.time() - began) * rate:
                task = next(changing)
                self.states[task] = "processing" if self.states[task] == "queueing" else "queueing"
                self.simulator.push(task, self.states[task])
                done += 1
            await asyncio.sleep(0.01)
        after = self.program.weigh()
        lasted = loop.time() - began
        told = (self.receiver.counts["received"] - received) / lasted
        return Cost(cores=(after.cpu - before.cpu) / lasted, rss=after.rss, told=told)


def free_port() -> int:
    """Return a port that nobody listens at now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def run(options: argparse.Namespace) -> dict[str, Cost | str]:
    """Measure one daemon without and with waiters."""
    tasks = [f"task-{number:05}" for number in range(options.waiters)]
    secret, costs = new_secret(os.urandom(SECRET_BYTES)), dict[str, Cost | str]()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        async with (
            Simulator(transcripts={"*": Transcript(snapshots=())}, keep_open=True) as simulator,
            Listener(secrets=[secret], keep=1) as receiver,
        ):
            port = free_port()
            settings = {
                "sources": {"vidu": {"preset": "vidu", "base_url": simulator.base_url, "token": "none"}},
                "endpoints": {"app": {"type": "webhook", "url": receiver.url, "secrets": [secret]}},
                "watches": tasks,
                "store": {"url": f"sqlite:///{directory}/notifier.db"},
                "http": {"listen": f"127.0.0.1:{port}"},
                "log": {"level": "warning"},
            }
            config = directory / "config.yaml"
            config.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
            command = [sys.executable, "-m", "notifier", "run", "-c", str(config)]
            connector = aiohttp.TCPConnector(limit=0)
            with Program(command, log=directory / "daemon.log") as program:
                async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector) as http:
                    await program.ready(http, within=PATIENCE)
                    site = Site(simulator=simulator, receiver=receiver, program=program, http=http)
                    await simulator.wait_open(len(tasks), timeout=PATIENCE)
                    for task in tasks:
                        simulator.push(task, "queueing")
                    costs["none, at rest"] = await site.measure(tasks, rate=0, seconds=options.seconds)
                    costs["none, changes"] = await site.measure(tasks, rate=options.rate, seconds=options.seconds)
                    costs |= await with_waiters(site, tasks, options)
    return costs


async def with_waiters(site: Site, tasks: list[str], options: argparse.Namespace) -> dict[str, Cost | str]:
    """Measure with a long poll for each task; then end the tasks. Raises BenchError if a waiter is answered wrongly."""
    costs: dict[str, Cost | str] = {}
    answered: list[float] = []

    async def wait(task: str) -> None:
        while True:
            async with site.http.get(f"/v1/watches/vidu/{task}/wait", params={"timeout": "600"}) as reply:
                answer = await reply.json()
            if reply.status != 200 or (answer["ended"] and answer["phase"] != "succeeded"):
                raise BenchError(f"a waiter for {task} got {reply.status}: {answer}")
            if answer["ended"]:
                answered.append(time.monotonic())
                return

    async with asyncio.TaskGroup() as group:
        for task in tasks:
            group.create_task(wait(task), name=f"wait for {task}")
        costs["all, at rest"] = await site.measure(tasks, rate=0, seconds=options.seconds)
        costs["all, changes"] = await site.measure(tasks, rate=options.rate, seconds=options.seconds)
        if answered:
            raise BenchError(f"{len(answered)} waiters were answered before their tasks ended")
        ended, before = time.monotonic(), site.program.weigh().cpu
        for task in tasks:
            site.simulator.push(task, "success")
    used = site.program.weigh().cpu - before
    costs["answers"] = (
        f"all tasks end at once: {len(answered)} waiters answered within {max(answered) - ended:.2f} s, "
        f"for {used:.2f} s of CPU, deliveries included"
    )
    return costs


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiters", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=100.0, help="changes of state a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each of the four figures")
    options = parser.parse_args()
    try:
        allow_descriptors(4 * options.waiters)
        with loops.runner() as runner:
            costs = runner.run(run(options))
    except BenchError as exc:
        sys.exit(f"bench: {exc}")
    table = Table("waiters, changes", "callbacks/s", "cores", "MiB")
    for name, cost in costs.items():
        if isinstance(cost, Cost):
            table.add_row(name, f"{cost.told:.1f}", f"{cost.cores:.4f}", f"{cost.rss / 2**20:.1f}")
    console = Console()
    console.print(f"{options.waiters} tasks, {options.rate:g} changes a second, {options.seconds:g} s each")
    console.print(table)
    console.print(costs["answers"])


if __name__ == "__main__":
    main()
