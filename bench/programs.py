"""The programs that are compared, and the configuration of each. The daemon is known by its configuration only."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench.child import BenchError
from bench.golang import NO_GO
from bench.timeline import task_id

SECRET = "whsec_bm90aWZpZXIgYmVuY2htYXJrIHNlY3JldCEhISEh"  # signs nothing but loopback traffic
TOKEN = "bench"
CONNECTS_PER_SECOND = 2_000
PORTS = 12_000, 32_000  # the first, and the one behind the last
_dice = random.SystemRandom()  # processes that begin together draw different ports

DAEMONS = {"daemon": "auto", "daemon-asyncio": "asyncio"}  # name -> `loop`
FLOORS = {"floor-uvloop": "uvloop", "floor-asyncio": "asyncio"}
SCRIPT = "script"
GO = "go"
JOB = ("daemon", SCRIPT, GO, *FLOORS)
IDLE = (*DAEMONS, *FLOORS)
NAMES = (*DAEMONS, SCRIPT, GO, *FLOORS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bout:
    """One program's turn."""

    name: str
    directory: Path  # its own, on a real disk
    streams: int
    upstream: str  # base URL
    callback: str  # URL
    go: Path | None = None  # the compiled program
    authority: Path | None = None  # PEM, when the upstream speaks TLS
    port: int | None = None  # that the daemon listens at; any, unless told
    profile: Path | None = None  # where cProfile writes, of the daemon
    store: str | None = None  # the daemon's database where it is not SQLite's: a URL
    node: str | None = None  # its name among those that share that

    @classmethod
    def beside(
        cls, ports: Mapping[str, int], *, name: str, directory: Path, streams: int, scheme: str = "http", **more: Any
    ) -> Self:
        """Return a turn beside the load generator at these ports, whose upstream has a scheme; `more`: other fields."""
        return cls(
            name=name,
            directory=directory,
            streams=streams,
            upstream=f"{scheme}://127.0.0.1:{ports['upstream']}",
            callback=f"http://127.0.0.1:{ports['receiver']}/callback",
            **more,
        )

    @property
    def database(self) -> Path:
        """Return where the daemon keeps its state."""
        return self.directory / "notifier.db"


def command(bout: Bout) -> list[str]:
    """Write what the program needs into its directory and return its command line."""
    if bout.name in DAEMONS:
        path = bout.directory / "bench.yaml"
        path.write_text(configuration(bout, loop=DAEMONS[bout.name], port=bout.port or free_port()), encoding="utf-8")
        profiler = ["-m", "cProfile", "-o", str(bout.profile)] if bout.profile else []
        return [sys.executable, *profiler, "-m", "notifier", "run", "-c", str(path)]
    ids = bout.directory / "ids.txt"
    ids.write_text("\n".join(task_id(stream) for stream in range(bout.streams)), encoding="utf-8")
    given = ["--upstream", bout.upstream, "--callback", bout.callback, "--token", TOKEN, "--secret", SECRET]
    given += ["--ids", str(ids)]
    if bout.name == SCRIPT:
        return [sys.executable, "-m", "bench.script", *given]
    if bout.name == GO:
        if bout.go is None:
            raise BenchError(NO_GO)
        return [str(bout.go), *given]
    given += ["--ca", str(bout.authority)] if bout.authority else []
    return [sys.executable, "-m", "bench.floor", *given, "--loop", FLOORS[bout.name]]


def configuration(bout: Bout, *, loop: str, port: int) -> str:
    """Return the daemon's configuration. JSON is YAML; one watch a line, as a person would list them."""
    source: dict[str, object] = {
        "preset": "vidu",
        "base_url": bout.upstream,
        "token": TOKEN,
        "max_streams": bout.streams + 100,
        "connect_rate": CONNECTS_PER_SECOND,
        "idle_timeout": "10m",
    }
    if bout.authority:
        source["ca_file"] = str(bout.authority)
    store = bout.store or f"sqlite:///{bout.database}"
    settings = sections(source, callback=bout.callback, store=store, listen=f"127.0.0.1:{port}") | {"loop": loop}
    if bout.node:
        settings["node"] = {"name": bout.node}
    lines = [f"{key}: {json.dumps(value)}" for key, value in settings.items()]
    lines.append("watches:" if bout.streams else "watches: []")
    lines += [f'  - "{task_id(stream)}"' for stream in range(bout.streams)]
    return "\n".join(lines) + "\n"


def sections(source: Mapping[str, object], *, callback: str, store: str, listen: str) -> dict[str, object]:
    """Return the sections of a configuration with one source and one endpoint."""
    return {
        "sources": {"vidu": source},
        "endpoints": {"app": {"type": "webhook", "url": callback, "secrets": [SECRET]}},
        "store": {"url": store},
        "http": {"listen": listen},
        "log": {"format": "json", "level": "warning"},
        "shutdown_timeout": "5s",
    }


def write_configuration(directory: Path, source: Mapping[str, object], *, callback: str, api: str) -> Path:
    """Write a configuration without watches, with SQLite in the same directory, and return its path."""
    store = f"sqlite:///{directory / 'notifier.db'}"
    path = directory / "bench.yaml"
    settings = sections(source, callback=callback, store=store, listen=api.removeprefix("http://"))
    path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return path


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free, below those that the kernel gives to clients (ip(7)).

    One of those may be taken by any connection before the program listens there.
    """
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            port = _dice.randrange(*PORTS)
            probe.bind(("127.0.0.1", port))
            return port
