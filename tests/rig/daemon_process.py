"""The real daemon as a process: its configuration, its log as it is written, its commands, its end.

Every process is ended by the fixture `daemons`, by its own id, whatever became of the test.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from forked_process import LIMIT, ForkedProcess, can_fork
from ports import free_port
from waits import PATIENCE, until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the example of the Standard Webhooks specification
SECRET_2 = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"  # from the test suites of Svix
PYTHON = (sys.executable, "-m", "notifier")  # forked where that is the same (forked_process.py)
EXECUTED = (sys.executable, "-u", "-m", "notifier")  # never forked: for what happens while the program is loaded

Fields = dict[str, Any]


def config(*, upstream: str, endpoints: Mapping[str, Any], watches: Sequence[Any] = (), **more: Any) -> Fields:
    """Make a configuration of one source; `more` replaces or adds sections, `vidu` keys of the source."""
    source: Fields = {
        "preset": "vidu",
        "base_url": upstream,
        "token": "t0p",
        "connect_rate": 5000,
        "backoff": {"initial": "50ms", "max": "500ms"},
    }
    source |= more.pop("vidu", {})
    return {
        "sources": {"vidu": source},
        "endpoints": dict(endpoints),
        "watches": list(watches),
        "store": {"url": "sqlite:///./notifier.db"},
        "http": {"listen": f"127.0.0.1:{free_port()}"},
        "log": {"format": "json"},
        "shutdown_timeout": "10s",
    } | more


def webhook(url: str, *secrets: str, **more: Any) -> Fields:
    """Make an endpoint that retries soon and often."""
    schedule = ["0s", *["100ms"] * 200]
    return {"type": "webhook", "url": url, "secrets": list(secrets or [SECRET]), "retry_schedule": schedule} | more


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Return the lines of its stderr."""
        return self.err.splitlines()


class Log:
    """Lines that a daemon wrote, and those who wait for one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.ended = False

    def add(self, line: str) -> None:
        """Take a line."""
        self.lines.append(line)
        self.changed()

    def changed(self) -> None:
        """Have everybody look again."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def events(self, name: str) -> list[Fields]:
        """Return the events of a name so far."""
        found = [json.loads(line) for line in self.lines if f'"event":"{name}"' in line]
        return [event for event in found if event["event"] == name]

    async def wait(self, name: str, count: int = 1) -> Fields:
        """Return the `count`th event of a name, once it is there. Raises AssertionError when the log ends before."""
        try:
            async with asyncio.timeout(PATIENCE):
                while len(found := self.events(name)) < count:
                    assert not self.ended, f"the daemon ended without {name}:\n" + "\n".join(self.lines)
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiters.append(waiter)
                    await waiter
        except TimeoutError:
            raise AssertionError(f"no {name} in the log:\n" + "\n".join(self.lines[-50:])) from None
        return found[count - 1]


class Daemon:
    """One daemon; may be started again after its end, on the same directory."""

    def __init__(
        self,
        directory: Path,
        settings: Fields,
        *,
        env: Mapping[str, str],
        python: Sequence[str],
        server: socket.socket | None = None,
    ) -> None:
        """Write the configuration. `server`: the server of forks that has imported the program to run."""
        self.directory = directory
        self.file = directory / "config.yaml"
        self.settings = settings
        self.env = {**os.environ, **env}
        self.python = python
        self.server = server
        self.log = Log()
        self.process: Process | ForkedProcess | None = None
        self._reading: asyncio.Task[None] | None = None
        self.url = ""  # of its API, once started
        self.write(settings)

    # -- files

    def write(self, settings: Fields | str) -> None:
        """Replace the configuration file, as a careful editor does."""
        text = settings if isinstance(settings, str) else yaml.safe_dump(settings, sort_keys=False)
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)
        if not isinstance(settings, str):
            self.settings = settings

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read its database."""
        path = self.directory / "notifier.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=PATIENCE)) as connection:
            return connection.execute(query).fetchall()

    # -- life

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self.process is not None
        return self.process.pid

    async def launch(self, *options: str) -> None:
        """Start the process; what it logs from now on is in a new `log`."""
        assert self._reading is None or self._reading.done()
        self.log = Log()
        self.url = f"http://{self.settings['http']['listen']}"
        self.process = await spawn(
            *("run", "-c", str(self.file), *options),
            python=self.python, cwd=self.directory, env=self.env, stdin=DEVNULL, stdout=DEVNULL, server=self.server,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read(self.process, self.log), name="daemon's log")

    async def _read(self, process: Process | ForkedProcess, log: Log) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            log.add(line.decode().rstrip("\n"))
        log.ended = True
        log.changed()

    async def start(self, *options: str) -> None:
        """Start it; return once it is ready."""
        await self.launch(*options)
        await self.log.wait("daemon.ready")

    async def loading(self) -> None:
        """Return once it loads its configuration: from then on it holds SIGHUP back (proc_pid_status(5))."""
        hup = 1 << signal.SIGHUP - 1

        def holds() -> bool:
            fields = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
            return int(fields["SigBlk"], 16) == hup or bool(int(fields["SigCgt"], 16) & hup)

        await until(holds, what="SIGHUP is held back")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it has not ended.

        asyncio's `send_signal` also polls the process, and so may take the exit code away from the event loop (255).
        """
        assert self.process is not None
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def ended(self) -> int:
        """Return its exit code, once it has ended and its log is read."""
        assert self.process is not None
        assert self._reading is not None
        async with asyncio.timeout(PATIENCE):
            await self._reading
            return await self.process.wait()

    async def stop(self) -> int:
        """Ask it to end; return its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """End it this instant."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
        if self.process is not None:
            await self.ended()

    # -- talking to it

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """GET; return status and body."""
        async with aiohttp.ClientSession(headers=headers) as session, session.get(self.url + path) as reply:
            return reply.status, await reply.text()

    async def post(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """POST JSON; return status and the JSON that is answered."""
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(self.url + path, json=body) as reply,
        ):
            return reply.status, await reply.json(content_type=None)

    async def metric(self, series: str) -> float:
        """Return a metric's value by its name and labels, as it is written."""
        _, text = await self.get("/metrics")
        return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series + " "))

    async def run(self, *args: str, env: Mapping[str, str] | None = None) -> Finished:
        """Run a command beside it, in its directory."""
        return await command(*args, cwd=self.directory, env={**self.env, **(env or {})})


Start = Callable[..., Daemon]  # the fixture `daemons`


async def spawn(
    *args: str,
    python: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    stdin: int = PIPE,
    stdout: int = PIPE,
    server: socket.socket | None = None,
) -> Process | ForkedProcess:
    """Start `notifier ARGS`, with a pipe for its stderr: by fork, where that is the same as a start of its own."""
    if server is not None or (python == PYTHON and can_fork(env)):
        return await ForkedProcess.start(args, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=PIPE, server=server)
    return await asyncio.create_subprocess_exec(
        *python, *args, cwd=cwd, env=dict(env), stdin=stdin, stdout=stdout, stderr=PIPE, limit=LIMIT
    )


async def command(
    *args: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: bytes = b"", python: Sequence[str] = PYTHON
) -> Finished:
    """Run `notifier ARGS` to its end."""
    process = await spawn(*args, python=python, cwd=cwd, env=os.environ if env is None else env)
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Finished(code=process.returncode, out=out.decode(), err=err.decode())
