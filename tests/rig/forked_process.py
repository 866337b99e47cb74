"""Processes of `notifier` that are forked from one that has imported the program (fork_server.py).

They are processes like any other, with signals, exit codes and streams of their own, and start in a tenth of the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping, Sequence
from pathlib import Path

from fork_servers import fork_server

SERVER = Path(__file__).with_name("fork_server.py")
LIMIT = 1 << 20  # bytes of a line that is read
# What the interpreter and the dynamic linker read before any program: a fork comes too late for other values.
EARLY = ("PYTHON", "LD_")


class _Pipe(asyncio.StreamReaderProtocol):
    """The reading end of a pipe."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader(limit=LIMIT)
        self.closed = asyncio.get_running_loop().create_future()
        super().__init__(self.reader)

    @classmethod
    async def open(cls, descriptor: int) -> _Pipe:
        """Read from a descriptor, which closes at the end of its data."""
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        _, protocol = await asyncio.get_running_loop().connect_read_pipe(cls, pipe)
        return protocol

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the descriptor is closed with this round of the loop."""
        super().connection_lost(exc)
        self.closed.get_loop().call_soon(self.closed.set_result, None)


class ForkedProcess:
    """A process; its attributes and methods are those of asyncio's."""

    def __init__(self, pid: int, pipes: Sequence[_Pipe | None], stdin: int | None) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout, self.stderr = (None if pipe is None else pipe.reader for pipe in pipes)
        self._pipes = [pipe for pipe in pipes if pipe is not None]
        self._stdin = stdin
        self._ending: asyncio.Task[int]

    @classmethod
    async def start(
        cls,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: int,
        stdout: int,
        stderr: int,
        server: socket.socket | None = None,
    ) -> ForkedProcess:
        """Start `notifier ARGUMENTS`; each stream is asyncio's DEVNULL or PIPE. `server`: where another one listens."""
        with contextlib.ExitStack() as theirs:
            null = os.open(os.devnull, os.O_RDWR)
            theirs.callback(os.close, null)
            ends: list[tuple[int | None, int]] = []
            for number, wanted in enumerate((stdin, stdout, stderr)):
                assert wanted in (DEVNULL, PIPE)
                ours, end = _pipe(writing=number == 0) if wanted == PIPE else (None, null)
                if wanted == PIPE:
                    theirs.callback(os.close, end)
                ends.append((ours, end))
            report, their_report = _pipe(writing=False)
            theirs.callback(os.close, their_report)
            request = {"args": list(arguments), "cwd": str(cwd), "env": dict(env)}
            socket.send_fds(
                server or fork_server(SERVER), [json.dumps(request).encode()], [*(end for _, end in ends), their_report]
            )
        status = await _Pipe.open(report)
        (given, _), (out, _), (err, _) = ends
        pipes = [None if end is None else await _Pipe.open(end) for end in (out, err)]
        process = cls(int(await status.reader.readline()), pipes, given)
        process._ending = asyncio.create_task(process._end(status), name=f"end of process {process.pid}")
        return process

    async def _end(self, status: _Pipe) -> int:
        self.returncode = int(await status.reader.readline())
        await status.closed
        return self.returncode

    async def wait(self) -> int:
        """Return the exit code, negative for a signal, once the process has ended."""
        code = await asyncio.shield(self._ending)
        for pipe in self._pipes:
            if pipe.reader.at_eof():
                await pipe.closed
        return code

    async def communicate(self, data: bytes = b"") -> tuple[bytes, bytes]:
        """Write to its stdin, read the rest of its output, and wait for its end."""
        assert self.stdout is not None
        assert self.stderr is not None
        _, out, err = await asyncio.gather(asyncio.to_thread(self._send, data), self.stdout.read(), self.stderr.read())
        await self.wait()
        return out, err

    def _send(self, data: bytes) -> None:
        if self._stdin is not None:
            with contextlib.suppress(BrokenPipeError), open(self._stdin, "wb") as pipe:
                pipe.write(data)
            self._stdin = None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to it, if it has not ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it this instant."""
        self.send_signal(signal.SIGKILL)


def can_fork(env: Mapping[str, str]) -> bool:
    """Return whether a forked process would see this environment as one of its own does."""
    early = {name for name in {*env, *os.environ} if name.startswith(EARLY)}
    return all(env.get(name) == os.environ.get(name) for name in early)


def _pipe(*, writing: bool) -> tuple[int, int]:
    """Return our end and the other one."""
    read, write = os.pipe()
    return (write, read) if writing else (read, write)
