"""The one command, `python -m bench`: measure, print, and write everything down as JSON if asked to."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from bench import adding, backlog, golang, idle, job, many, nodes, soak, table, table_backlog, table_job, table_nodes
from bench.child import ROOT, BenchError, allow_descriptors
from bench.disk import measure as measure_disk
from bench.programs import GO, IDLE, JOB, NAMES, SCRIPT
from bench.turn import answers, machine, turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured unless told otherwise."""

    streams: int
    rate: float
    overload: int  # streams
    idle_streams: int
    rounds: int  # of adding watches
    many: int  # watches added at once
    pending: int  # deliveries


FULL = Size(streams=5_000, rate=1_000, overload=3_000, idle_streams=10_000, rounds=5, many=10_000, pending=1_000_000)
QUICK = Size(streams=500, rate=200, overload=500, idle_streams=1_000, rounds=1, many=1_000, pending=20_000)
OVERLOAD_RATE = 10_000.0  # changes per second: more than any of the programs can do
REDIS = "redis://127.0.0.1:6379"
POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The measurements that were asked for."""

    streams: int
    rate: float
    overload: int
    idle_streams: int
    rounds: int
    many: int
    pending: int
    connect_rate: float
    redis: str | None
    postgres: str | None
    soak_rate: float
    minutes: float
    only: str | None
    programs: tuple[str, ...] | None
    directory: Path
    json: Path | None
    cprofile: Path | None


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--streams", type=int, help="of the job, and of adding watches (5000)")
    parser.add_argument("--rate", type=float, help="changes per second of the job, all streams together (1000)")
    parser.add_argument("--overload", type=int, help="streams that want more than a program can do; 0: none (3000)")
    parser.add_argument("--idle-streams", type=int, help="(10000)")
    parser.add_argument("--only", choices=list(PARTS), help="measure one of them")
    parser.add_argument("--many", type=int, help="watches to add by one request (10000)")
    parser.add_argument("--pending", type=int, help="deliveries of the backlog (1000000)")
    parser.add_argument("--connect-rate", type=float, default=200.0, help="of the source they are added to (200)")
    parser.add_argument("--soak-rate", type=float, default=100.0, help="watches a second of the soak (100)")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the soak, which `--only soak` measures (30)")
    parser.add_argument("--rounds", type=int, help="watches added by each way (5)")
    parser.add_argument("--redis", default=REDIS, help="for adding watches by a queue; left out if nobody is there")
    parser.add_argument("--postgres", default=POSTGRES, help="for nodes and backlog; left out if nobody is there")
    parser.add_argument(
        "--quick", action="store_true", help="500 streams at 200/s, 1,000 idle: shows that it works, measures little"
    )
    parser.add_argument("--programs", help=f"some of {','.join(NAMES)}; script and go take no part in idle")
    parser.add_argument("--directory", type=Path, default=ROOT / "build" / "bench", help="on a real disk")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--cprofile", type=Path, help="run the job's daemon under cProfile, write its figures here")
    args = parser.parse_args(arguments)
    programs = tuple(args.programs.split(",")) if args.programs else None
    if unknown := set(programs or ()) - set(NAMES):
        parser.error(f"no such program: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    usual = QUICK if args.quick else FULL
    options = Options(
        streams=usual.streams if args.streams is None else args.streams,
        rate=usual.rate if args.rate is None else args.rate,
        overload=usual.overload if args.overload is None else args.overload,
        idle_streams=usual.idle_streams if args.idle_streams is None else args.idle_streams,
        rounds=usual.rounds if args.rounds is None else args.rounds,
        many=usual.many if args.many is None else args.many,
        pending=usual.pending if args.pending is None else args.pending,
        connect_rate=args.connect_rate,
        redis=args.redis if answers(args.redis, 6379) else None,
        postgres=args.postgres if answers(args.postgres, 5432) else None,
        soak_rate=args.soak_rate,
        minutes=args.minutes,
        only=args.only,
        programs=programs,
        directory=args.directory,
        json=args.json,
        cprofile=args.cprofile.resolve() if args.cprofile else None,
    )
    if min(options.streams, options.rate, options.idle_streams, options.rounds, options.many, options.minutes) <= 0:
        parser.error("streams, rate and rounds must be above 0")
    if options.pending < backlog.FEW:
        parser.error(f"a backlog has {backlog.FEW} pending at least")
    return options


def run_job(options: Options, console: Console, directory: Path) -> dict[str, Any]:
    """Measure the job, and each program with more than it can do; print it, and return the figures."""
    disk = measure_disk(directory)
    results: list[job.Result] = []
    overloads: dict[str, job.Result] = {}
    failures: dict[str, str] = {}
    work = job.Work(streams=options.streams, rate=options.rate)
    overload = job.Work(streams=options.overload, rate=OVERLOAD_RATE)
    go = golang.compiled(directory)
    asked = options.programs or JOB
    absent = {GO: golang.NO_GO} if GO in asked and go is None else {}
    for name in (name for name in asked if name not in absent):
        own = directory / f"job-{name}"
        own.mkdir()
        with turn(f"job: {name}", own, console, failures):
            result = job.measure(name=name, work=work, directory=own, go=go, profile=options.cprofile)
            results.append(result)
            result.require()
        if not options.overload:
            continue
        own = directory / f"overload-{name}"
        own.mkdir()
        with turn(f"overload: {name}", own, console, failures):
            overloads[name] = job.measure(name=name, work=overload, directory=own, go=go)
            overloads[name].require()
    if results:
        table_job.show(console, results, overloads, absent, work=work, disk=disk)
    return {
        "streams": options.streams,
        "rate": options.rate,
        "disk": asdict(disk),
        "profiled": options.cprofile is not None,
        "results": [{**asdict(result), "cpu": result.cpu} for result in results],
        "overloads": [{**asdict(result), "pace": result.pace} for result in overloads.values()],
        "absent": absent,
        "failures": failures,
        "aims": [{**asdict(aim), "met": aim.met} for aim in table_job.aims(results, rate=options.rate)],
    }


def run_idle(options: Options, console: Console, directory: Path) -> dict[str, Any]:
    """Measure idle streams, print them, and return their figures."""
    trust = idle.issue(directory)
    results: list[idle.Result] = []
    failures: dict[str, str] = {}
    for tls in (False, True):
        for name in [name for name in options.programs or IDLE if name not in (SCRIPT, GO)]:
            transport = "tls" if tls else "plain"
            own = directory / f"idle-{name}-{transport}"
            own.mkdir()
            with turn(f"idle: {name}, {transport}", own, console, failures):
                weighed = idle.measure(
                    name=name, streams=options.idle_streams, directory=own, trust=trust if tls else None
                )
                results.append(weighed)
                weighed.require()
    if results:
        table.show_idle(console, results)
    return {
        "streams": options.idle_streams,
        "results": [{**asdict(result), "per_stream": result.per_stream} for result in results],
        "failures": failures,
        "aims": [{**asdict(aim), "met": aim.met} for aim in table.idle_aims(results)],
    }


def run_add(options: Options, console: Console, directory: Path) -> dict[str, Any]:
    """Measure how soon a watch is followed, print it, and return the figures."""
    results: list[adding.Result] = []
    failures: dict[str, str] = {}
    own = directory / "add-daemon"
    own.mkdir()
    with turn("add: daemon", own, console, failures):
        measuring = adding.measure(streams=options.streams, rounds=options.rounds, directory=own, redis=options.redis)
        results = asyncio.run(measuring)
        table.show_add(console, results)
    return {
        "streams": options.streams,
        "results": [{**asdict(result), "worst": result.worst} for result in results],
        "failures": failures,
        "aims": [{**asdict(aim), "met": aim.met} for aim in table.add_aims(results)],
    }


def run_many(options: Options, console: Console, directory: Path) -> dict[str, Any]:
    """Measure how very many watches are added at once, print it, and return the figures."""
    failures: dict[str, str] = {}
    results: list[many.Result] = []
    own = directory / "many"
    own.mkdir()
    with turn("many", own, console, failures):
        result = many.measure(
            watches=options.many, flowing=max(options.many // 10, 1), rate=options.connect_rate, directory=own
        )
        results.append(result)
        table.show_many(console, result)
        result.require()
    return {
        "results": [asdict(result) for result in results],
        "failures": failures,
        "aims": [{**asdict(aim), "met": aim.met} for result in results for aim in table.many_aims(result)],
    }


def run_nodes(options: Options, console: Console, directory: Path) -> dict[str, Any]:
    """Measure one node and two, print it, and return the figures."""
    results: list[nodes.Result] = []
    failures: dict[str, str] = {}
    trips: nodes.Trips | None = None
    if options.postgres is None:
        console.print("several nodes were left out: no PostgreSQL answers (--postgres)")
        return {"results": [], "failures": {}, "aims": []}
    for name in nodes.WAYS:
        own = directory / name.replace(" ", "-")
        with turn(f"nodes: {name}", own, console, failures):
            result = nodes.measure(
                name=name, streams=options.streams, rate=options.rate, directory=own, server=options.postgres
            )
            result.require()
            results.append(result)
    with turn("nodes: round trips", directory / "trips", console, failures):
        trips = nodes.count_trips(
            streams=options.streams, rate=options.rate, directory=directory / "trips", server=options.postgres
        )
    if results:
        table_nodes.show(console, results, trips)
    return {
        "results": [asdict(result) for result in results],
        "trips": None if trips is None else asdict(trips),
        "failures": failures,
        "aims": [{**asdict(aim), "met": aim.met} for aim in table_nodes.aims(results, trips)],
    }


def run_backlog(options: Options, console: Console, directory: Path) -> dict[str, Any]:
    """Measure very many pending deliveries, print it, and return the figures."""
    results: list[backlog.Result] = []
    failures: dict[str, str] = {}
    if options.postgres is None:
        console.print("a backlog in PostgreSQL was left out: nobody answers (--postgres)")
    for name in (backlog.SQLITE, backlog.POSTGRES)[: 1 if options.postgres is None else 2]:
        own = directory / f"backlog-{name}"
        with turn(f"backlog: {name}", own, console, failures):
            results.append(backlog.measure(name=name, pending=options.pending, directory=own, server=options.postgres))
    if results:
        table_backlog.show(console, results)
    return {
        "results": [asdict(result) for result in results],
        "failures": failures,
        "aims": [{**asdict(aim), "met": aim.met} for aim in table_backlog.aims(results)],
    }


def run_soak(options: Options, console: Console, directory: Path) -> dict[str, Any]:
    """Measure the memory that ended watches leave behind, print it, and return the figures."""
    failures: dict[str, str] = {}
    results: list[soak.Result] = []
    own = directory / "soak"
    own.mkdir()
    with turn("soak", own, console, failures):
        result = soak.measure(rate=options.soak_rate, minutes=options.minutes, directory=own)
        results.append(result)
        soak.show(console, result)
    return {
        "results": [{**asdict(result), "slope": result.slope} for result in results],
        "failures": failures,
        "aims": [],
    }


PARTS: dict[str, Callable[[Options, Console, Path], dict[str, Any]]] = {
    "job": run_job,
    "idle": run_idle,
    "add": run_add,
    "many": run_many,
    "nodes": run_nodes,
    "backlog": run_backlog,
    "soak": run_soak,
}
ALONE = frozenset({"soak"})  # takes half an hour: measured only if it is asked for


def stop(signum: int, frame: object) -> NoReturn:  # noqa: ARG001  # a signal handler's signature
    """Leave as an exception, so that every process started is ended on the way out."""
    raise SystemExit(128 + signum)


def main() -> int:
    """Measure. Returns 0, or 1 when a program could not be measured."""
    options = parse(sys.argv[1:])
    console = Console(width=None if sys.stdout.isatty() else 120)
    signal.signal(signal.SIGTERM, stop)
    figures: dict[str, Any] = {"machine": machine()}
    load = figures["machine"]["load_before"][0]
    if load > 0.5:
        console.print(f"[yellow]the machine is not at rest (load {load:.1f}): figures will be worse than they are[/]")
    options.directory.mkdir(parents=True, exist_ok=True)
    try:
        allow_descriptors(
            max(options.streams, options.overload, options.idle_streams, options.many + options.many // 10)
        )
        with tempfile.TemporaryDirectory(dir=options.directory) as name:
            for part in [options.only] if options.only else [part for part in PARTS if part not in ALONE]:
                figures[part] = PARTS[part](options, console, Path(name))
    except BenchError as exc:
        console.print(str(exc), style="red", markup=False)
        return 1
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 1 if any(figures.get(part, {}).get("failures") for part in PARTS) else 0


if __name__ == "__main__":
    sys.exit(main())
