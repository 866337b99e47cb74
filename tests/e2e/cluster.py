"""Several nodes on one PostgreSQL, an upstream that knows the follower of each task, and a ledger of callbacks."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import aiohttp
import psycopg
from chaos.scribe import Scribe
from chaos.site import note_takeovers
from clocks import ahead
from daemon_process import Daemon, Fields, Log, Start, config, webhook
from judge import Case, Terms, verdict
from judge.database import read
from receiver import Arrival, Receiver
from recorded import QUICK, RecordedSimulator, RecordedStream, arrived
from waits import until

from notifier.tools.faults import FaultPlan
from notifier.tools.simulated import SimulatedStream, SimulatedTask
from notifier.tools.transcript import Transcript
from notifier.tools.wire import HttpConnection, HttpRequest

NODE_HEADER = "x-node"  # of each webhook: which node sent it
LONG = 150.0  # seconds for what thousands of watches have to come to
SILENT = Transcript(snapshots=())  # of tasks that move only by hand


@dataclass(frozen=True, slots=True)
class Stay:
    """The time that a task's stream was open at a node; in seconds of time.monotonic."""

    node: str
    opened: float
    stream: RecordedStream

    @property
    def closed(self) -> float | None:
        """Return when it ended; None: it is open."""
        return self.stream.closed


class Upstream(RecordedSimulator):
    """A simulator that remembers who followed which task, and when: each node has a token of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Scribe(), transcript=SILENT, **options)
        self.stays: dict[str, list[Stay]] = defaultdict(list)
        self._asking = ""
        self._askers: dict[SimulatedStream, str] = {}  # the node of each stream

    def _respond(self, request: HttpRequest, connection: HttpConnection) -> None:
        self._asking = request.headers.get("authorization", "").removeprefix("Bearer ")
        super()._respond(request, connection)

    def _new_stream(
        self, connection: HttpConnection, task: SimulatedTask, plan: FaultPlan, after: int | None
    ) -> RecordedStream:
        stream = super()._new_stream(connection, task, plan, after)
        self.stays[task.id].append(Stay(self._asking, time.monotonic(), stream))
        self._askers[stream] = self._asking
        return stream

    async def until(self, holds: Callable[[], bool], *, timeout: float = LONG) -> None:
        """Return when something holds of what is followed. Raises TimeoutError."""
        await self.wait_for(lambda _: holds(), timeout=timeout)

    async def left(self, task: str) -> None:
        """Return when nobody follows a task any more."""
        await self.until(lambda: self.who(task) is None)

    def held(self) -> Counter[str]:
        """Count the streams that are open by node."""
        return Counter(self._askers[stream] for stream in self._streams)

    def following(self, node: str) -> set[str]:
        """Return the tasks whose stream is open at a node."""
        return {stream.task.id for stream in self._streams if self._askers[stream] == node}

    def who(self, task: str) -> str | None:
        """Return the node at which a task's stream is open."""
        return next((stay.node for stay in self.stays[task] if stay.closed is None), None)

    def elsewhere(self, tasks: set[str], node: str, since: float) -> dict[str, float]:
        """Return of each of these tasks the seconds until it was open at another node again; those that are."""
        found = {}
        for task in tasks:
            opened = [stay.opened for stay in self.stays[task] if stay.node != node and stay.opened >= since]
            if opened:
                found[task] = min(opened) - since
        return found

    def gaps(self, since: float) -> dict[str, float]:
        """Return the seconds that tasks were followed by nobody, of those whose stream was cut since then."""
        found: dict[str, float] = {}
        for task, stays in self.stays.items():
            for before, after in pairwise(stays):
                if before.closed is not None and before.closed >= since:
                    found[task] = max(found.get(task, 0.0), after.opened - before.closed)
        return found


class Ledger:
    """The callbacks that have arrived at a receiver, by watch and sequence."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.first: dict[str, Arrival] = {}  # by webhook-id
        self.order: dict[str, list[int]] = defaultdict(list)  # sequences in the order of their first arrival
        self.ids: dict[tuple[str, int], str] = {}
        self.repeats: list[tuple[Arrival, Arrival]] = []  # what arrived again, and the one before it
        self.ended: set[str] = set()
        self.faults: list[str] = []
        self._last: dict[str, Arrival] = {}

    def enter(self, arrival: Arrival) -> None:
        """Write an arrival in, and what is wrong with it."""
        self.arrivals.append(arrival)
        payload = json.loads(arrival.body)
        watch, sequence = payload["data"]["watch"]["id"], payload["data"]["sequence"]
        known = self.first.get(arrival.id)
        if known is not None:
            if known.body != arrival.body:
                self.faults.append(f"{watch} {sequence}: another body under the same id")
            self.repeats.append((arrival, self._last[arrival.id]))
        else:
            self.first[arrival.id] = arrival
            self.order[watch].append(sequence)
            if sequence != len(self.order[watch]):
                self.faults.append(f"{watch}: {sequence} came as number {len(self.order[watch])}")
            if self.ids.setdefault((watch, sequence), arrival.id) != arrival.id:
                self.faults.append(f"{watch} {sequence}: two ids")
        self._last[arrival.id] = arrival
        if payload["type"] in ("task.succeeded", "task.failed", "task.canceled"):
            self.ended.add(watch)

    async def more(self, count: int, *, what: str) -> None:
        """Wait until so many more events have arrived, counted from now."""
        before = len(self.first)
        await until(lambda: len(self.first) >= before + count, what)

    async def heard(self, watch: str, count: int) -> None:
        """Wait until so many events of a watch have arrived."""
        await until(lambda: len(self.order[watch]) == count, f"{count} events of {watch}")

    def check(self, stored: Mapping[tuple[str, int], str]) -> None:
        """Hold what arrived against what was committed: `webhook-id` by watch and sequence."""
        assert not self.faults, self.faults[:10]
        missing = stored.keys() - self.ids.keys()
        assert not missing, f"{len(missing)} were committed and never arrived: {sorted(missing)[:10]}"
        assert self.ids == dict(stored), "what has arrived was committed"


class Cluster:
    """Nodes by name, on the database of `url`."""

    def __init__(self, daemons: Start, url: str, upstream: Upstream, receiver: str, **more: Any) -> None:
        self._daemons = daemons
        self.url = url
        self.upstream = upstream
        self._receiver = receiver
        self._more = more
        self.nodes: dict[str, Daemon] = {}

    def make(self, name: str, *, env: Mapping[str, str] | None = None, **more: Any) -> Daemon:
        """Make a node, not started yet."""
        self.nodes[name] = self._daemons(self.settings(name, **more), name=name, env=dict(env or {}))
        return self.nodes[name]

    def settings(self, name: str, **more: Any) -> Fields:
        """Make the configuration of a node: those of the cluster, but for who it is."""
        given = self._more | more
        timeout = given.pop("timeout", "2s")
        source = {"token": name, "connect_rate": 1000, "max_streams": 10_000} | given.pop("vidu", {})
        endpoint = {"headers": {NODE_HEADER: name}} | given.pop("app", {})
        return config(
            upstream=self.upstream.base_url,
            endpoints={"app": webhook(self._receiver, **endpoint)},
            store={"url": f"{self.url}?application_name={name}"},
            node={"name": name, "timeout": timeout},
            vidu=source,
            **given,
        )

    async def start(self, *names: str, **more: Any) -> None:
        """Start nodes, together."""
        await asyncio.gather(*((self.nodes.get(name) or self.make(name, **more)).start() for name in names))

    async def add(self, node: str, count: int) -> list[str]:
        """Ask a node for so many watches; return their ids."""
        ids = [f"task-{number}" for number in range(count)]
        status, told = await self.nodes[node].post("/v1/watches", ids)
        assert status == 201, told
        assert told["created"] == count
        return ids

    async def remove(self, node: str, task: str) -> int:
        """Ask a node to follow a task no longer; return the status."""
        url = f"{self.nodes[node].url}/v1/watches/vidu/{task}"
        async with aiohttp.ClientSession() as session, session.delete(url) as reply:
            return reply.status

    async def balanced(self, count: int, *, timeout: float = LONG) -> None:
        """Wait until so many streams are open, shared fairly by the nodes that run."""
        running = [name for name, node in self.nodes.items() if node.process and node.process.returncode is None]
        fair = count / len(running)

        def holds() -> bool:
            held = self.upstream.held()
            return sum(held.values()) == count and all(abs(held[name] - fair) <= fair * 0.05 + 2 for name in running)

        try:
            async with asyncio.timeout(timeout):
                while not holds():  # noqa: ASYNC110  # who holds what changes in other processes
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not balanced: {dict(self.upstream.held())} of {count}") from None

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the database, past the nodes."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def stored(self) -> dict[tuple[str, int], str]:
        """Return what was committed: `webhook-id` by watch and sequence."""
        rows = self.query("SELECT w.id, e.sequence, e.id FROM events e JOIN watches w ON w.pk = e.watch")
        return {(watch, sequence): id_ for watch, sequence, id_ in rows}

    def judged(self, ledger: Ledger, *, lag: float, logs: Sequence[tuple[str, Log]] = ()) -> Case:
        """Return the case of a run that has come to its end, of which the judge has nothing to say.

        What befell the nodes is in the upstream's record; `logs`, of all their lives, tell who was declared dead.
        """
        scribe = self.upstream.scribe
        for name, log in logs:
            note_takeovers(scribe, name, log)
        seconds = ahead(self.url)
        entries = [
            arrived(arrival, "app", node=arrival.headers[NODE_HEADER], ahead=seconds) for arrival in ledger.arrivals
        ]
        terms = Terms(endpoints={"app": QUICK}, slack=0.02 + lag)
        case = Case([*scribe.entries, *entries], read(self.url), terms)
        assert [str(finding) for finding in verdict(case)] == []
        return case

    async def settled(self, *, timeout: float = LONG) -> None:
        """Wait until every delivery was accepted."""
        query = "SELECT status, count(*) FROM deliveries WHERE status != 'delivered' GROUP BY status"
        try:
            async with asyncio.timeout(timeout):
                while await asyncio.to_thread(self.query, query):  # noqa: ASYNC110  # it changes in other processes
                    await asyncio.sleep(0.1)
        except TimeoutError:
            owners = self.query(
                "SELECT owner, status, attempt, count(*), owner IN (SELECT number FROM nodes) FROM deliveries"
                " WHERE status != 'delivered' GROUP BY 1, 2, 3"
            )
            raise AssertionError(f"not settled: {owners}") from None

    def said(self, event: str) -> dict[str, list[Fields]]:
        """Return what the nodes logged of an event since they were started, by node."""
        return {name: node.log.events(event) for name, node in self.nodes.items() if node.log.events(event)}

    def story(self) -> str:
        """Tell what the nodes logged, but for single watches and deliveries."""
        lines = sorted(line for node in self.nodes.values() for line in node.log.lines if '"delivery.' not in line)
        return "\n".join(lines)

    def clean(self) -> list[str]:
        """Return the errors that nodes logged; an outage of the store is none."""
        return [
            line
            for node in self.nodes.values()
            for line in node.log.lines
            if ('"level":"error"' in line and '"event":"store.unavailable"' not in line) or not line.startswith("{")
        ]


async def lively(upstream: Upstream, tasks: list[str], dice: random.Random, *, rate: int) -> None:
    """Have tasks change their states, so many a second, until cancelled."""
    states = ("queueing", "processing", "preparation", "scheduling")
    turn = Counter[str]()
    began, done = time.monotonic(), 0
    while True:
        while done < (time.monotonic() - began) * rate:
            task = dice.choice(tasks)
            turn[task] += 1
            upstream.push(task, states[turn[task] % len(states)])
            done += 1
        await asyncio.sleep(0.02)


async def finish(upstream: Upstream, ledger: Ledger, tasks: list[str], dice: random.Random) -> None:
    """Let every task end, and wait until the ends have arrived."""
    for number, task in enumerate(tasks):
        upstream.push(task, dice.choice(("success", "failed", "canceled")))
        if number % 100 == 99:
            await asyncio.sleep(0.01)
    with suppress(TimeoutError):
        async with asyncio.timeout(LONG):
            while not ledger.ended.issuperset(tasks):  # noqa: ASYNC110  # the receiver tells nobody
                await asyncio.sleep(0.05)
    missing = set(tasks) - ledger.ended
    assert not missing, f"the ends of {len(missing)} tasks never arrived: {sorted(missing)[:10]}"


def spread(seconds: list[float]) -> str:
    """Say how long things took."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    told = {"median": 0.5, "p95": 0.95, "p99": 0.99}
    parts = [f"{name} {ordered[int(part * (len(ordered) - 1))]:.3f}" for name, part in told.items()]
    return f"{len(ordered)}: {', '.join(parts)}, max {ordered[-1]:.3f} s"


@asynccontextmanager
async def cluster(daemons: Start, url: str, *names: str, **more: Any) -> AsyncIterator[tuple[Cluster, Ledger]]:
    """Start nodes, with an upstream and a receiver."""
    ledger = Ledger()
    async with Upstream() as upstream, Receiver(ledger.enter) as receiver:
        made = Cluster(daemons, url, upstream, receiver.url, **more)
        await made.start(*names)
        yield made, ledger
