"""Memory of a stream that only waits: the program with no stream against the program with many, plain and over TLS.

Every stream has said `queueing` once and been told of, so that what a program keeps of a task is counted too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.request import urlopen

import trustme

from bench.child import BenchError, LoadGenerator, Program, Weight
from bench.job import LATE_SECONDS, OPEN_SECONDS, OPENED_PER_SECOND
from bench.programs import DAEMONS, SECRET, Bout, command, free_port

SETTLE_SECONDS = 30.0  # at most, until a program is at rest
REST_SECONDS = 1.5
LOOK_SECONDS = 0.2  # between looks whether a daemon is ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One program's memory, bytes."""

    name: str
    tls: bool
    streams: int
    empty_rss: int  # at rest without any stream
    full_rss: int  # at rest with all streams open
    peak_rss: int
    rest_cores: float  # CPU seconds per second, all streams open and nothing to do
    missing: int  # callbacks of the first state that never came

    @property
    def per_stream(self) -> float:
        """Return the bytes that one stream costs."""
        return (self.full_rss - self.empty_rss) / self.streams

    def require(self) -> None:
        """Raise BenchError if the first state was not told of every stream."""
        if self.missing:
            raise BenchError(f"done wrong: missing {self.missing}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """A certificate for 127.0.0.1 and the authority that signed it."""

    certificate: Path  # key and chain
    authority: Path


def issue(directory: Path) -> Trust:
    """Make an authority and a certificate."""
    authority = trustme.CA()
    trust = Trust(certificate=directory / "server.pem", authority=directory / "authority.pem")
    authority.cert_pem.write_to_path(str(trust.authority))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(trust.certificate))
    return trust


def measure(*, name: str, streams: int, directory: Path, trust: Trust | None) -> Result:
    """Weigh one program empty and full. Raises BenchError if it does not get there."""
    empty, _, _ = weigh(name=name, streams=0, directory=_made(directory / "empty"), trust=trust)
    full, cores, missing = weigh(name=name, streams=streams, directory=_made(directory / "full"), trust=trust)
    return Result(
        name=name,
        tls=trust is not None,
        streams=streams,
        empty_rss=empty.rss,
        full_rss=full.rss,
        peak_rss=full.peak,
        rest_cores=cores,
        missing=missing,
    )


def weigh(*, name: str, streams: int, directory: Path, trust: Trust | None) -> tuple[Weight, float, int]:
    """Weigh one program at rest; return its weight, the cores it still uses and the callbacks that are missing."""
    certificate = trust.certificate if trust else None
    with LoadGenerator(streams=streams, rate=1.0, secret=SECRET, idle=True, certificate=certificate) as load:
        ports = load.expect("ready", within=OPEN_SECONDS)
        bout = Bout.beside(
            ports,
            name=name,
            directory=directory,
            streams=streams,
            scheme="https" if trust else "http",
            authority=trust.authority if trust else None,
        )
        missing = 0
        bout = replace(bout, port=free_port())
        with Program(command(bout), log=directory / "output.log") as program:
            if streams:
                load.expect("open", within=OPEN_SECONDS + streams / OPENED_PER_SECOND, of=program)
                load.go()
                missing = load.expect("done", within=LATE_SECONDS, of=program)["tally"]["missing"]
            elif name in DAEMONS:
                _wait_until_ready(program, f"http://127.0.0.1:{bout.port}/readyz")
            return *program.settle(at_most=SETTLE_SECONDS, every=REST_SECONDS), missing


def _wait_until_ready(program: Program, url: str) -> None:
    """Wait until a daemon has started: one that waits for its turn on a busy machine is at rest, too."""
    deadline = time.monotonic() + OPEN_SECONDS
    while time.monotonic() < deadline:
        program.require()
        try:
            with urlopen(url, timeout=OPEN_SECONDS):
                return
        except OSError:  # it does not listen yet, or is not ready
            time.sleep(LOOK_SECONDS)
    raise BenchError(f"the daemon was not ready within {OPEN_SECONDS:.0f} s")


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory
