"""The time from a request for a watch, in each possible way, to its subscription at the upstream.

Many other streams are open meanwhile. The upstream is the project's simulator, in this process; a way that begins
with a command is charged with starting it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench.child import ROOT, BenchError, Program
from bench.programs import Bout, configuration, free_port
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

OPEN_SECONDS = 30.0  # to start and open a few streams
OPENED_PER_SECOND = 100.0  # slower than this is a failure
SETTLE_SECONDS = 20.0  # at most, until the program is at rest
ARRIVE_SECONDS = 30.0  # for a subscription to come at all
QUEUE = "queue"  # needs a Redis
WAYS = ("SIGHUP", "reload_on_change", "notifier reload", QUEUE, "POST /v1/watches", "notifier watch add")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Seconds of one way, in order."""

    way: str
    streams: int
    seconds: tuple[float, ...]

    @property
    def worst(self) -> float:
        """Return the longest."""
        return max(self.seconds)


@dataclass(slots=True)
class Site:
    """A daemon with its streams, and all that can be asked of it."""

    bout: Bout
    port: int
    simulator: Simulator
    client: aiohttp.ClientSession
    redis: str | None
    program: Program | None = None
    added: list[str] = field(default_factory=list)  # to the configuration
    following: bool = False
    stream: str = field(default_factory=lambda: f"notifier:bench:{secrets.token_hex(6)}")

    @property
    def path(self) -> Path:
        """Return the configuration."""
        return self.bout.directory / "bench.yaml"

    @property
    def url(self) -> str:
        """Return where the API is."""
        return f"http://127.0.0.1:{self.port}"

    def write(self, *more: str) -> None:
        """Replace the configuration, with more watches."""
        self.added += more
        text = f"reload_on_change: {json.dumps(self.following)}\n"
        if self.redis is not None:
            text += f"queues: {json.dumps([{'url': self.redis, 'stream': self.stream}])}\n"
        text += configuration(self.bout, loop="auto", port=self.port)
        text += "".join(f'  - "{each}"\n' for each in self.added)
        new = self.path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.path)

    def signal(self) -> None:
        """Have it reload."""
        assert self.program is not None
        self.program.signal(signal.SIGHUP)

    async def command(self, *arguments: str) -> None:
        """Run one of our commands."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "notifier", *arguments, "--url", self.url), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        await process.communicate()
        if process.returncode != 0:
            raise BenchError(f"notifier {' '.join(arguments)} ended with status {process.returncode}")

    async def post(self, path: str, body: object = None) -> None:
        """Ask by HTTP."""
        async with self.client.post(self.url + path, json=body) as reply:
            if reply.status >= 300:
                raise BenchError(f"POST {path} was answered {reply.status}: {await reply.text()}")


async def measure(*, streams: int, rounds: int, directory: Path, redis: str | None) -> list[Result]:
    """Open the streams, then add watches by each way in turn, some rounds long. Raises BenchError."""
    async with (
        Simulator(transcript=Transcript(snapshots=())) as simulator,
        aiohttp.ClientSession() as client,
    ):
        nowhere = f"http://127.0.0.1:{free_port()}"  # nothing is sent: no task ever says anything
        bout = Bout(name="daemon", directory=directory, streams=streams, upstream=simulator.base_url, callback=nowhere)
        site = Site(bout=bout, port=free_port(), simulator=simulator, client=client, redis=redis)
        site.write()
        command = [sys.executable, "-m", "notifier", "run", "-c", str(site.path)]
        try:
            with Program(command, log=directory / "output.log") as site.program:
                await simulator.wait_open(streams, timeout=OPEN_SECONDS + streams / OPENED_PER_SECOND)
                await asyncio.to_thread(site.program.settle, at_most=SETTLE_SECONDS, every=0.5)
                return await _ways(site, rounds)
        except TimeoutError as exc:
            raise BenchError("streams did not open in time") from exc
        finally:
            await _forget_queue(site)


async def _ways(site: Site, rounds: int) -> list[Result]:
    async def hang_up(task: str) -> None:
        site.write(task)
        site.signal()

    async def change(task: str) -> None:
        site.write(task)

    async def reload(task: str) -> None:
        site.write(task)
        await site.command("reload")

    async def post(task: str) -> None:
        await site.post("/v1/watches", {"id": task})

    async def add(task: str) -> None:
        await site.command("watch", "add", task)

    async def publish(task: str) -> None:
        await _publish(site, task)

    async def follow() -> None:
        site.following = True
        site.write()
        await site.post("/v1/reload")

    ways: Sequence[Callable[[str], Awaitable[None]]] = (hang_up, change, reload, publish, post, add)
    found: dict[str, Result] = {}
    for way, ask in sorted(zip(WAYS, ways, strict=True), key=lambda pair: pair[0] == "reload_on_change"):
        if way == QUEUE and site.redis is None:
            continue
        if way == "reload_on_change":  # the last: with it, each change of the file would be one for all
            await follow()
        seconds = [
            await _timed(site, f"{way}-{number}".replace(" ", "-").replace("/", "-"), ask) for number in range(rounds)
        ]
        found[way] = Result(way=way, streams=site.bout.streams, seconds=tuple(seconds))
    return [found[way] for way in WAYS if way in found]


async def _timed(site: Site, task: str, ask: Callable[[str], Awaitable[None]]) -> float:
    """Add a watch; return the seconds until its stream opened."""
    begun = time.monotonic()
    asking = asyncio.ensure_future(ask(task))
    await site.simulator.wait_for(
        lambda sim: task in sim.tasks and bool(sim.tasks[task].streams), timeout=ARRIVE_SECONDS
    )
    seconds = time.monotonic() - begun
    await asking
    return seconds


async def _publish(site: Site, task: str) -> None:
    from redis.asyncio import Redis  # an extra of the project

    assert site.redis is not None
    async with Redis.from_url(site.redis) as client:
        await client.xadd(site.stream, {"data": task})


async def _forget_queue(site: Site) -> None:
    if site.redis is None:
        return
    from redis.asyncio import Redis  # an extra of the project

    async with Redis.from_url(site.redis) as client:
        await client.delete(site.stream, f"{site.stream}:dead")
