"""The processes of a measurement: started, measured and ended by their id. Knows nothing of their work."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import psutil

ROOT = Path(__file__).resolve().parent.parent
END_SECONDS = 15.0  # to end after SIGTERM, before SIGKILL
POLL_SECONDS = 0.2
CALM = 2  # periods on end
REST_CORES = 0.1  # CPU seconds per second that are still calm
SPARE_DESCRIPTORS = 1_000  # beside one for each stream
DAEMON_DESCRIPTORS = 2_500  # that the daemon opens no streams with, and some to spare
STEP = 500  # streams, where there are not enough


class BenchError(Exception):
    """The measurement cannot be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """The CPU and memory that a process has used so far."""

    cpu: float  # seconds, user and system, all threads
    main_cpu: float  # of that, the main thread: the event loop
    rss: int  # bytes now
    peak: int  # bytes at most


def allow_descriptors(streams: int, *, spare: int = SPARE_DESCRIPTORS) -> None:
    """Raise the limit of open files for us and our children. Raises BenchError where that is forbidden."""
    needed = streams + spare
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))
    except (ValueError, OSError) as exc:
        raise BenchError(f"{needed} open files are needed, {hard} allowed: raise `ulimit -Hn`") from exc


def fitting(streams: int) -> int:
    """Raise the limit of open files as far as it goes; return how many streams of so many the daemon then opens."""
    try:
        allow_descriptors(streams, spare=DAEMON_DESCRIPTORS)
    except BenchError:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (hard - DAEMON_DESCRIPTORS) // STEP * STEP
    return streams


class Program:
    """A program under measurement; its output goes to a log file."""

    def __init__(self, command: Sequence[str], *, log: Path) -> None:
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT
            )
        self._stat = psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def require(self) -> None:
        """Raise BenchError if the program has ended."""
        if self._process.poll() is not None:
            raise BenchError(f"the program ended with status {self._process.returncode}")

    async def ready(self, http: aiohttp.ClientSession, *, within: float) -> None:
        """Wait until the daemon at the session's base URL is ready. Raises TimeoutError, BenchError if it has ended."""
        async with asyncio.timeout(within):
            while True:
                self.require()
                try:
                    async with http.get("/readyz") as reply:
                        if reply.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass  # it does not listen yet
                await asyncio.sleep(0.05)

    def weigh(self) -> Weight:
        """Read its CPU time and memory. Raises BenchError if it has ended."""
        self.require()
        with self._stat.oneshot():
            cpu = self._stat.cpu_times()
            rss = self._stat.memory_info().rss
        main = sum(
            thread.user_time + thread.system_time for thread in self._stat.threads() if thread.id == self._process.pid
        )
        return Weight(cpu=cpu.user + cpu.system, main_cpu=main, rss=rss, peak=_peak(self._process.pid))

    def settle(self, *, at_most: float, every: float) -> tuple[Weight, float]:
        """Wait until the program is at rest, `at_most` seconds; return its weight and the cores it still uses.

        At rest is what uses little CPU in each of the last CALM periods of `every` seconds.
        """
        deadline = time.monotonic() + at_most
        calm = 0
        before = self.weigh()
        while True:
            time.sleep(every)
            now = self.weigh()
            cores = (now.cpu - before.cpu) / every
            calm = calm + 1 if cores < REST_CORES else 0
            if calm == CALM or time.monotonic() >= deadline:
                return now, cores
            before = now

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal. Raises BenchError if it has ended."""
        self.require()
        self._process.send_signal(number)

    def end(self) -> int:
        """End it, by SIGTERM if it listens, and return its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()


class LoadGenerator:
    """Our end of the load generator's pipes."""

    def __init__(
        self,
        *,
        streams: int,
        rate: float,
        secret: str,
        active: int | None = None,
        idle: bool = False,
        certificate: Path | None = None,
    ) -> None:
        command = [sys.executable, "-m", "bench.loadgen", "--streams", str(streams), "--rate", str(rate)]
        command += [] if active is None else ["--active", str(active)]
        command += ["--secret", secret] + ["--idle"] * idle
        command += ["--certificate", str(certificate)] if certificate else []
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # its end of input: it ends by itself
        self._process.stdout.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def go(self) -> None:
        """Start the plan."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()

    def expect(self, event: str, *, within: float, of: Program | None = None) -> Mapping[str, Any]:
        """Wait for an event, past any others. Raises BenchError when time or the program measured has run out."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            while b"\n" in self._buffer:
                line, _, self._buffer = self._buffer.partition(b"\n")
                told: dict[str, Any] = json.loads(line)
                if told["event"] == event:
                    return told
            if of is not None:
                of.require()
            if select.select([self._process.stdout], [], [], POLL_SECONDS)[0]:
                received = os.read(self._process.stdout.fileno(), 65_536)
                if not received:
                    raise BenchError(f"the load generator ended before {event!r}")
                self._buffer += received
        raise BenchError(f"no {event!r} from the load generator within {within:.0f} s")


def _peak(pid: int) -> int:
    """Read the high-water mark of the memory; unlike `ru_maxrss` it holds nothing of the process before its exec."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise BenchError("the system does not tell a process's peak memory (no VmHWM in /proc)")
