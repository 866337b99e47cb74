"""Very many watches added by one request while streams flow: a daemon, with upstream and receiver in this process."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import aiohttp

from bench.child import BenchError, Program
from bench.programs import SECRET, TOKEN, free_port, write_configuration
from bench.tally import percentile
from notifier.tools.callback import ReceivedCallback
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript, snapshot

EVERY = 5.0  # seconds between two changes of a stream that is open before
CHANGES = 1_000  # of each of those: more than are played
OPEN_SECONDS = 60.0  # to start, and to open what is there before
LATE_SECONDS = 120.0  # beyond the ramp, after which it is a failure
ASK_EVERY = 0.05  # seconds from an answer to the next question
LIST, PAGE, ROOT = "/v1/watches", "/v1/watches?limit=1000", "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The figures; times in seconds, memory in bytes."""

    watches: int
    flowing: int
    post_seconds: float  # until the POST was answered
    subscribed_seconds: float  # from the beginning of the POST until every stream was open
    ramp_seconds: float  # what `connect_rate` alone takes for as many
    connects: int  # of the new ones; as many as there are, or some were opened twice
    before_rss: int
    after_rss: int
    peak_rss: int
    before_gap: float  # the longest silence of the flowing streams together in as long a time before
    gap: float  # the same while watches were added and subscribed
    asked: Mapping[str, Sequence[float]]  # by path: seconds of each request meanwhile

    def p(self, path: str, fraction: float) -> float:
        """Return a percentile of a path's answers, in milliseconds."""
        return (percentile(sorted(self.asked[path]), fraction) or 0.0) * 1000

    def require(self) -> None:
        """Raise BenchError if a watch was subscribed twice."""
        if self.connects != self.watches:
            raise BenchError(f"done wrong: {self.connects} connections for {self.watches} watches")


def measure(*, watches: int, flowing: int, rate: float, directory: Path) -> Result:
    """Add `watches` beside `flowing` open streams, `rate` connections a second. Raises BenchError."""
    try:
        return asyncio.run(_measure(watches, flowing, rate, directory))
    except TimeoutError as exc:
        raise BenchError("it did not get there in time") from exc


async def _measure(watches: int, flowing: int, rate: float, directory: Path) -> Result:
    gc.freeze()  # what is there already is looked at by no collection: a pause here would be taken for the daemon's
    arrivals: list[float] = []
    turns = tuple(snapshot(("queueing", "processing")[number % 2]) for number in range(CHANGES))
    async with (
        Simulator(
            transcript=Transcript(snapshots=(snapshot("queueing"),)),
            transcripts={"flow-*": Transcript(snapshots=turns)},
            interval=EVERY,
            jitter=0.5,
            keep_open=True,
        ) as upstream,
        Listener(secrets=[SECRET], on_callback=lambda told: note(arrivals, told)) as receiver,
    ):
        api = f"http://127.0.0.1:{free_port()}"
        run = _command(directory, upstream.base_url, receiver.url, api, rate=rate, room=watches + flowing)
        with Program(run, log=directory / "output.log") as program:
            async with aiohttp.ClientSession(api, connector=aiohttp.TCPConnector(limit=0)) as http:
                await program.ready(http, within=OPEN_SECONDS)
                await _post(http, [f"flow-{number}" for number in range(flowing)])
                await upstream.wait_open(flowing, timeout=OPEN_SECONDS + flowing / rate)
                ramp = watches / rate
                await asyncio.sleep(min(ramp, 4 * EVERY))  # what is usual before
                before, usual = program.weigh(), silence(arrivals, time.monotonic() - min(ramp, 3 * EVERY))
                asked: dict[str, list[float]] = {LIST: [], PAGE: [], ROOT: []}
                asking = [asyncio.create_task(_ask(http, path, asked[path]), name=path) for path in asked]
                began, connects = time.monotonic(), upstream.connects
                await _post(http, [str(number) for number in range(watches)])
                posted = time.monotonic()
                await upstream.wait_open(watches + flowing, timeout=ramp + LATE_SECONDS)
                subscribed = time.monotonic()
                for task in asking:
                    task.cancel()
                await asyncio.wait(asking)
                gap = silence(arrivals, began)
                await asyncio.to_thread(program.settle, at_most=3 * EVERY, every=1.0)
                after = program.weigh()
                return Result(
                    watches=watches,
                    flowing=flowing,
                    post_seconds=posted - began,
                    subscribed_seconds=subscribed - began,
                    ramp_seconds=ramp,
                    connects=upstream.connects - connects,
                    before_rss=before.rss,
                    after_rss=after.rss,
                    peak_rss=after.peak,
                    before_gap=usual,
                    gap=gap,
                    asked=asked,
                )


def _command(directory: Path, upstream: str, callback: str, api: str, *, rate: float, room: int) -> list[str]:
    """Write a configuration and return the command that runs it."""
    source = {
        "preset": "vidu",
        "base_url": upstream,
        "token": TOKEN,
        "max_streams": room,
        "connect_rate": rate,
        "idle_timeout": "10m",
    }
    path = write_configuration(directory, source, callback=callback, api=api)
    return [sys.executable, "-m", "notifier", "run", "-c", str(path)]


async def _post(http: aiohttp.ClientSession, ids: Sequence[str]) -> None:
    """Add watches by one request. Raises BenchError if one of them was not new."""
    async with http.post("/v1/watches", json=list(ids)) as reply:
        told = await reply.json()
        if (reply.status, told.get("created")) != (201, len(ids)):
            raise BenchError(f"POST /v1/watches of {len(ids)}: {reply.status} {str(told)[:200]}")


async def _ask(http: aiohttp.ClientSession, path: str, seconds: list[float]) -> None:
    """Ask for a path again and again, noting how long each whole answer took."""
    while True:
        began = time.monotonic()
        async with http.get(path) as reply:
            await reply.read()
            if reply.status != 200:
                raise BenchError(f"GET {path}: {reply.status}")
        seconds.append(time.monotonic() - began)
        await asyncio.sleep(ASK_EVERY)


def note(arrivals: list[float], told: ReceivedCallback) -> None:
    """Note when a callback of a stream that flows came."""
    if told.watch is not None and told.watch.startswith("flow-"):
        arrivals.append(time.monotonic())


def silence(arrivals: Sequence[float], since: float) -> float:
    """Return the longest silence from then on."""
    times = [since, *(at for at in arrivals if at >= since), time.monotonic()]
    return max(later - earlier for earlier, later in pairwise(times))
