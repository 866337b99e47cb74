"""The job, done by one node on SQLite, by one on PostgreSQL, and by two that share it: what a change costs each."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.child import BenchError, LoadGenerator, Program
from bench.job import FAULTS, LATE_SECONDS, OPEN_SECONDS, OPENED_PER_SECOND, SETTLE_SECONDS
from bench.programs import SECRET, Bout, command
from bench.relay import relay
from bench.server import Database, Used, database
from bench.timeline import CHANGES

SQLITE, ONE, TWO = "1 on SQLite", "1 on PostgreSQL", "2 on PostgreSQL"
WAYS = {SQLITE: 1, ONE: 1, TWO: 2}
SHARE_SECONDS = 60.0  # at most, until two nodes have about the same
EVEN = 0.1  # by which their shares may differ
COUNTED_STREAMS = 500  # at most, of the run through the relay, in which round trips are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The figures of one way; CPU in seconds, of the load alone."""

    name: str
    changes: int
    seconds: float  # of wall clock, from the first change to the last callback
    node_cpu: Sequence[float]  # by node
    main_cpu: Sequence[float]  # of that, the main thread: the event loop
    peak_rss: Sequence[int]
    tally: Mapping[str, Any]
    reconnects: int  # of streams, once the plan had begun
    late_p99_ms: float  # the load generator's own lateness
    load_average: float  # of the machine, in the end
    used: Used | None  # of PostgreSQL
    exit_statuses: Sequence[int]

    @property
    def node_us(self) -> float:
        """Return the CPU of all nodes for one change, in microseconds."""
        return sum(self.node_cpu) / self.changes * 1e6

    def require(self) -> None:
        """Raise BenchError if the job was done wrong: then its figures say nothing."""
        wrong = {fault: count for fault in FAULTS if (count := self.tally[fault])}
        if any(self.exit_statuses):
            wrong["exit_status"] = max(self.exit_statuses)
        if wrong:
            raise BenchError("done wrong: " + ", ".join(f"{fault} {count}" for fault, count in wrong.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trips:
    """Round trips of the connection that writes, under load."""

    trips: int
    groups: int


def measure(*, name: str, streams: int, rate: float, directory: Path, server: str) -> Result:
    """Do the job in one of the WAYS. Raises BenchError if it does not get there."""
    if name == SQLITE:
        return _measure(name, streams, rate, directory, store=None, made=None)
    with database(server) as made:
        return _measure(name, streams, rate, directory, store=made.url, made=made)


def count_trips(*, streams: int, rate: float, directory: Path, server: str) -> Trips:
    """Do a small job at the same rate through a relay, and count. Raises BenchError."""
    with database(server) as made, relay(made.url) as through:
        marks: list[tuple[int, int]] = []
        result = _measure(
            ONE,
            min(streams, COUNTED_STREAMS),
            rate,
            directory,
            store=through.url,
            made=None,
            mark=lambda: marks.append(through.writer()),
        )
        result.require()
    (trips, groups), (trips_after, groups_after) = marks
    return Trips(trips=trips_after - trips, groups=groups_after - groups)


def _measure(
    name: str,
    streams: int,
    rate: float,
    directory: Path,
    *,
    store: str | None,
    made: Database | None,
    mark: Any = lambda: None,
) -> Result:
    with LoadGenerator(streams=streams, rate=rate, secret=SECRET) as load, ExitStack() as stack:
        ports = load.expect("ready", within=OPEN_SECONDS)
        nodes: list[Program] = []
        for number in range(WAYS[name]):
            own = directory / f"node-{number + 1}"
            own.mkdir(parents=True)
            bout = Bout.beside(
                ports,
                name="daemon",
                directory=own,
                streams=streams,
                store=store,
                node=f"node-{number + 1}",
            )
            nodes.append(stack.enter_context(Program(command(bout), log=own / "output.log")))
        load.expect("open", within=OPEN_SECONDS + streams / OPENED_PER_SECOND, of=nodes[0])
        if made is not None:
            _share(made, nodes, streams)
        before = [node.settle(at_most=SETTLE_SECONDS, every=0.5)[0] for node in nodes]
        used = made.read() if made is not None else None
        mark()
        load.go()
        load.expect("quiet", within=len(CHANGES) * streams / rate + LATE_SECONDS, of=nodes[0])
        after = [node.weigh() for node in nodes]
        mark()
        report = load.expect("done", within=OPEN_SECONDS)
        time.sleep(1.0)  # statistics of PostgreSQL come late
        return Result(
            name=name,
            changes=report["tally"]["expected"],
            seconds=report["seconds"],
            node_cpu=[now.cpu - then.cpu for now, then in zip(after, before, strict=True)],
            main_cpu=[now.main_cpu - then.main_cpu for now, then in zip(after, before, strict=True)],
            peak_rss=[now.peak for now in after],
            tally=report["tally"],
            reconnects=report["reconnects"],
            late_p99_ms=report["lag_p99_ms"],
            load_average=os.getloadavg()[0],
            used=made.read().since(used) if made is not None and used is not None else None,
            exit_statuses=[node.end() for node in nodes],
        )


def _share(made: Database, nodes: Sequence[Program], streams: int) -> None:
    """Wait until every node follows about as many watches. Raises BenchError."""
    deadline = time.monotonic() + SHARE_SECONDS
    fair = streams / len(nodes)
    while time.monotonic() < deadline:
        held = [count for _, count in made.all("SELECT owner, count(*) FROM watches GROUP BY owner")]
        if len(held) == len(nodes) and all(abs(count - fair) <= EVEN * fair for count in held):
            return
        for node in nodes:
            node.require()
        time.sleep(0.5)
    raise BenchError(f"after {SHARE_SECONDS:.0f} s the nodes still follow {held} of {streams} watches")
