"""What floods of the HTTP API do to callbacks: their latency alone, and beside each kind of flood.

    .venv/bin/python -m bench.floods                  # two minutes

The daemon tells `--rate` changes a second while another process, of the lowest priority, sends it as many requests as
it answers. Every callback has to come. It prints a table and judges nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.child import ROOT, BenchError, LoadGenerator, Program
from bench.programs import SECRET, Bout, command, free_port
from bench.timeline import CHANGES

OPEN_SECONDS = 60.0
LATE_SECONDS = 120.0
TAIL = 1.0  # seconds by which a flood outlasts the changes; they begin after the first answer
BEGUN = "begun"  # printed by a flood then
BIG = b'{"watches":[' + b'{"id":"x","source":"nope","labels":{"a":"b"}},' * 20_000 + b"{}]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """Requests that clients send again and again."""

    path: str
    clients: int
    at_once: int  # requests that a client sends before it reads their answers
    body: bytes | None = None
    anew: bool = False  # each on a connection of its own

    @property
    def request(self) -> bytes:
        """Return the bytes of a request."""
        method = "GET" if self.body is None else "POST"
        lines = [f"{method} {self.path} HTTP/1.1", "Host: bench"]
        if self.body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + (self.body or b"")


FLOODS: Mapping[str, Flood] = {
    "health": Flood(path="/healthz", clients=50, at_once=20),
    "status": Flood(path="/v1/status", clients=20, at_once=5),
    "lists": Flood(path="/v1/watches?limit=200", clients=20, at_once=2),
    "waits": Flood(path="/v1/watches/vidu/none/wait?timeout=1", clients=200, at_once=5),
    "large bodies": Flood(path="/v1/watches", clients=20, at_once=1, body=BIG),
    "deep JSON": Flood(path="/v1/watches", clients=20, at_once=1, body=b"[" * 900_000),
    "connections": Flood(path="/healthz", clients=100, at_once=1, anew=True),
}


async def pour(flood: Flood, port: int, seconds: float) -> int:
    """Send requests until so long after the first answer, at which BEGUN is printed; return how many were answered."""
    answered, until = 0, time.monotonic() + LATE_SECONDS

    async def client() -> None:
        nonlocal answered, until
        while time.monotonic() < until:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    while time.monotonic() < until:
                        writer.write(flood.request * flood.at_once)
                        for _ in range(flood.at_once):
                            await _answer(reader)
                            if not answered:
                                print(BEGUN, flush=True)
                                until = time.monotonic() + seconds
                            answered += 1
                        if flood.anew:
                            break
                finally:
                    writer.close()

    async with asyncio.TaskGroup() as group:
        for number in range(flood.clients):
            group.create_task(client(), name=f"client {number}")
    return answered


async def _answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"content-length:" in head:
        await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
    if b"connection: close" in head:
        raise ConnectionResetError


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The callbacks beside one flood."""

    name: str
    answered: int
    tally: Mapping[str, Any]


def measure(name: str | None, *, streams: int, rate: float, directory: Path) -> Latency:
    """Run the changes beside a flood; None: beside nothing. Raises BenchError."""
    port, seconds = free_port(), len(CHANGES) * streams / rate + TAIL
    with LoadGenerator(streams=streams, rate=rate, secret=SECRET) as load:
        ports = load.expect("ready", within=OPEN_SECONDS)
        bout = Bout.beside(
            ports,
            name="daemon",
            directory=directory,
            streams=streams,
            port=port,
        )
        with Program(command(bout), log=directory / "output.log") as program:
            load.expect("open", within=OPEN_SECONDS, of=program)
            program.settle(at_most=OPEN_SECONDS, every=0.5)
            flood = None if name is None else _start(name, port, seconds)
            load.go()
            tally = load.expect("done", within=seconds + LATE_SECONDS)["tally"]
            answered = 0 if flood is None else int(flood.communicate(timeout=LATE_SECONDS)[0])
            status = program.end()
    if status or tally["missing"] or tally["duplicates"]:
        raise BenchError(f"done wrong: status {status}, missing {tally['missing']}, twice {tally['duplicates']}")
    return Latency(name=name or "nothing", answered=answered, tally=tally)


def _start(name: str, port: int, seconds: float) -> subprocess.Popen[bytes]:
    """Start a flood; return once the first of its requests was answered. Raises BenchError."""
    given = ["--pour", name, "--port", str(port), "--seconds", str(seconds)]
    flood = subprocess.Popen(
        ["nice", "-n", "19", sys.executable, "-m", "bench.floods", *given], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert flood.stdout is not None
    if flood.stdout.readline().decode().strip() != BEGUN:
        raise BenchError(f"the flood of {name} was answered nothing")
    return flood


def show(console: Console, latencies: list[Latency]) -> None:
    """Print a row for each flood."""
    table = Table("beside a flood of", "answered", "p50 ms", "p99 ms", "max ms")
    for column in table.columns[1:]:
        column.justify = "right"
    for each in latencies:
        told = (f"{each.tally[key]:,.1f}" for key in ("p50_ms", "p99_ms", "max_ms"))
        table.add_row(each.name, f"{each.answered:,}", *told)
    console.print(table)


def main() -> None:
    """Measure and print, or pour."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=600)
    parser.add_argument("--rate", type=float, default=200.0, help="changes a second (200)")
    parser.add_argument("--only", choices=FLOODS, help="one flood, beside none")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--pour", choices=FLOODS, help=argparse.SUPPRESS)  # the flood's own process
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pour:
        print(asyncio.run(pour(FLOODS[options.pour], options.port, options.seconds)))
        return
    latencies = []
    (ROOT / "build").mkdir(exist_ok=True)
    for name in (None, options.only) if options.only else (None, *FLOODS):
        with tempfile.TemporaryDirectory(dir=ROOT / "build") as directory:
            latencies.append(measure(name, streams=options.streams, rate=options.rate, directory=Path(directory)))
    show(Console(), latencies)
    if options.json:
        figures = {each.name: {"answered": each.answered, **each.tally} for each in latencies}
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
