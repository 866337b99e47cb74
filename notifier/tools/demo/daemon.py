"""Runs the daemon in its own process: starts it, waits for readiness in its log, and stops it by SIGTERM."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from notifier.core.errors import NotifierError

READY_WITHIN = 60.0  # seconds; usually one or two, many more on a busy machine
STOP_WITHIN = 20.0  # seconds from SIGTERM to SIGKILL; its own `shutdown_timeout` is shorter
LOOK_EVERY = 0.05  # seconds between looks at the log
TAIL = 15  # lines of its log that are shown when it died
LONGEST_LINE = 400  # characters of such a line


class DaemonFailed(NotifierError):
    """The daemon did not run as it should."""


class Daemon:
    """Usable as `async with Daemon(config, log) as daemon`, which returns once it is ready."""

    def __init__(self, config: Path, log: Path) -> None:
        self.config = config
        self.log = log
        self.url = ""  # of its HTTP API
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Start it and wait until it is ready. Raises DaemonFailed."""
        with self.log.open("wb") as log:
            # A process group of its own: Ctrl-C on a terminal is for the demo, which then stops the daemon in order.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "notifier", "run", "-c", str(self.config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        try:
            await self._until_ready()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop it if it runs."""
        await self.stop()

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process is not None
        return self._process.pid

    def check(self) -> None:
        """Raise DaemonFailed, with the end of its log, if it is no longer running."""
        assert self._process is not None
        code = self._process.returncode
        if code is not None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise DaemonFailed(f"the daemon {how}; the end of its log:\n{self.tail()}")

    async def stop(self) -> int:
        """Stop it by SIGTERM, then by SIGKILL if necessary; return its exit code."""
        process = self._process
        assert process is not None
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_WITHIN):
                    await process.wait()
            except TimeoutError:
                process.kill()
        return await process.wait()

    def tail(self) -> str:
        """Return the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL:]
        return "\n".join(f"  {line[:LONGEST_LINE]}" for line in lines) or "  (empty)"

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_WITHIN):
                while (ready := self._ready()) is None:
                    self.check()
                    await asyncio.sleep(LOOK_EVERY)
        except TimeoutError:
            raise DaemonFailed(
                f"the daemon was not ready within {READY_WITHIN:g} s; the end of its log:\n{self.tail()}"
            ) from None
        self.url = f"http://{ready}"

    def _ready(self) -> str | None:
        """Return the address in its log; None before it is ready."""
        for line in self.log.read_bytes().splitlines(keepends=True):
            if b'"daemon.ready"' in line and line.endswith(b"\n"):
                return str(json.loads(line)["http"])
        return None
