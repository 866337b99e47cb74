"""The cost of very many pending deliveries: the time of a claim, a node's memory, and the rate of sending."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.child import BenchError, Program
from bench.loadgen import Receiver
from bench.programs import SECRET, Bout, command
from bench.seeding import ENDPOINT, LANE, Seeded, seed
from bench.server import database
from bench.tally import Callback, percentile, signed
from notifier.store import Store
from notifier.store import statements as sql
from notifier.store.connection import Engine
from notifier.store.database import Database, open_database

SQLITE, POSTGRES = "SQLite", "PostgreSQL"
ROOM = 256  # deliveries a claim asks for: what an endpoint's queue has room for by default
CLAIMS = 20  # of each size
FEW, SOME = 3_000, 100_000  # pending, beside all; of the few as many are ready as a claim takes
SHORT = 30_000  # pending at most in the store that stands for an empty one: about what a drain takes
DRAIN_SECONDS = 20.0
WARM_SECONDS, WARM = 1.0, 0.1  # or that part of all, which do not count: connections are made, caches are cold
START_SECONDS = 120.0  # until the first callback
OWN_TIMEOUT = 300.0  # of the store in this process: nobody is there to take it for dead


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """How long claims took among so many."""

    pending: int
    taken: int  # by each
    p50_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """The measurements of a node that sends so many."""

    pending: int
    sent: int  # callbacks that were received in the time watched
    seconds: float
    cpu: float  # of the node meanwhile, all threads
    first_seconds: float  # from the node's start to the first callback
    peak_rss: int
    load_average: float  # of the machine, in the end

    @property
    def rate(self) -> float:
        """Return the callbacks a second."""
        return self.sent / self.seconds

    @property
    def cpu_us(self) -> float:
        """Return the CPU of one callback, in microseconds."""
        return self.cpu / self.sent * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The figures of one database."""

    name: str
    seed_seconds: float
    claims: Sequence[Claims]
    plan: Sequence[str]  # of the claim among all
    short: Drain
    full: Drain


def measure(*, name: str, pending: int, directory: Path, server: str | None) -> Result:
    """Measure on SQLite, or on a database of our own on that server. Raises BenchError."""
    with _store(name, "full", directory, server) as full, _store(name, "short", directory, server) as short:
        seeded = seed(full, min(FEW, pending))
        claims, began = [_claims(seeded)], time.monotonic()
        for size in (size for size in (SOME, pending) if FEW < size <= pending):
            seeded.fill(size)
            claims.append(_claims(seeded))
        took = time.monotonic() - began
        plan = _plan(full)
        seed(short, min(SHORT, pending))
        return Result(
            name=name,
            seed_seconds=took,
            claims=claims,
            plan=plan,
            short=drain(short, min(SHORT, pending), directory / "short"),
            full=drain(full, pending, directory / "full"),
        )


@contextlib.contextmanager
def _store(name: str, which: str, directory: Path, server: str | None) -> Iterator[str]:
    own = directory / which
    own.mkdir(parents=True)
    if name == SQLITE:
        yield f"sqlite:///{own / 'notifier.db'}"
        for file in own.glob("notifier.db*"):
            file.unlink()
    elif server is not None:
        with database(server) as made:
            yield made.url


def _claims(seeded: Seeded) -> Claims:
    """Time claims of the store in this process; the deliveries are given back after each."""
    store = Store(_open(seeded.url), timeout=OWN_TIMEOUT)
    return asyncio.run(_claim(store, seeded))


async def _claim(store: Store, seeded: Seeded) -> Claims:
    writer = asyncio.create_task(store.run(), name="store")
    seconds: list[float] = []
    taken: set[int] = set()
    for _ in range(CLAIMS + 1):
        began = time.monotonic()
        claim = await store.outbox.claim({ENDPOINT: ROOM}, now=time.time_ns() // 1000)
        seconds.append(time.monotonic() - began)
        taken.add(len(claim.deliveries))
        await asyncio.to_thread(seeded.free, [delivery.id for delivery in claim.deliveries])
    await store.close()
    await writer
    store.shutdown()
    if len(taken) != 1:
        raise BenchError(f"done wrong: claims of {ROOM} took {sorted(taken)}")
    usual = sorted(seconds[1:])  # the first compiles the statements
    return Claims(
        pending=seeded.pending,
        taken=taken.pop(),
        p50_ms=(percentile(usual, 0.5) or 0.0) * 1000,
        max_ms=usual[-1] * 1000,
    )


def _open(url: str) -> Database:
    return open_database(url, name="bench", timeout=OWN_TIMEOUT, migrate=False)


def _plan(url: str) -> list[str]:
    """Ask the database how it would claim, on a connection like the program's."""
    opened = _open(url)
    try:
        return _explain(opened.writing if opened.shared else opened.reading, opened.shared)
    finally:
        opened.close()


def _explain(engine: Engine, shared: bool) -> list[str]:
    asked = "EXPLAIN (COSTS OFF) " if shared else "EXPLAIN QUERY PLAN "
    given = {"endpoint": ENDPOINT, "now": time.time_ns() // 1000, "limit": ROOM, "me": 1}
    with engine.connect() as connection:
        rows = connection.execute(asked + sql.CLAIM_DELIVERIES, given).all()
    return [str(row[-1]) for row in rows]


def drain(url: str, pending: int, directory: Path) -> Drain:
    """Have a node send pending deliveries for some time. Raises BenchError if a callback was wrong."""
    callbacks: list[Callback] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        drained = runner.run(_watch(url, pending // LANE * LANE, directory, callbacks))
    _require(callbacks)
    return drained


async def _watch(url: str, pending: int, directory: Path, callbacks: list[Callback]) -> Drain:
    receiver = await asyncio.get_running_loop().create_server(lambda: Receiver(callbacks), "127.0.0.1", 0)
    port = receiver.sockets[0].getsockname()[1]
    bout = Bout(
        name="daemon",
        directory=directory,
        streams=0,
        upstream="http://127.0.0.1:1",  # nothing is followed
        callback=f"http://127.0.0.1:{port}/callback",
        store=url,
        node=None if url.startswith("sqlite:") else "backlog",
    )
    began = time.monotonic()
    program = Program(command(bout), log=directory / "output.log")
    try:
        while not callbacks:
            program.require()
            if time.monotonic() > began + START_SECONDS:
                raise BenchError(f"no callback within {START_SECONDS:.0f} s")
            await asyncio.sleep(0.05)
        warm = time.monotonic() + WARM_SECONDS
        while len(callbacks) < pending * WARM and time.monotonic() < warm:  # noqa: ASYNC110  # no hook in it
            await asyncio.sleep(0.01)
        before, sent, start = program.weigh(), len(callbacks), time.monotonic()
        while len(callbacks) < pending and time.monotonic() < start + DRAIN_SECONDS:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.05)
        after, received = program.weigh(), len(callbacks)
        seconds = callbacks[received - 1].at - start
        load = os.getloadavg()[0]
    finally:
        status = await asyncio.to_thread(program.end)  # it finishes what is on its way, which has to be received
        receiver.close()
    if status:
        raise BenchError(f"the node ended with status {status}")
    if received == sent:
        raise BenchError(f"all {pending} were sent before anything could be measured: take more (--pending)")
    return Drain(
        pending=pending,
        sent=received - sent,
        seconds=seconds,
        cpu=after.cpu - before.cpu,
        first_seconds=callbacks[0].at - began,
        peak_rss=after.peak,
        load_average=load,
    )


def _require(callbacks: Sequence[Callback]) -> None:
    """Raise BenchError unless each lane's callbacks came in order, each once and signed."""
    latest: dict[str, int] = {}
    wrong = unsigned = 0
    for callback in callbacks:
        data = json.loads(callback.body)["data"]
        lane, sequence = data["watch"]["id"], data["sequence"]
        wrong += sequence != latest.get(lane, 0) + 1
        latest[lane] = sequence
        unsigned += not signed(callback, SECRET)
    if wrong or unsigned:
        raise BenchError(f"done wrong: {wrong} callbacks twice or out of order, {unsigned} not signed")
