"""Starts `notifier` by fork: this process has imported the program, so a start costs a fork and no imports.

It is given one socket. Each message is a JSON request (arguments, directory, environment) with four descriptors: the
new process's three streams, and one on which this server reports its process id and, at its end, its exit code.
The server has one thread and no event loop; it ends when the other side closes the socket.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import socket
import sys
import time
from typing import Any, TextIO, cast

import crash_points

MAX_REQUEST = 1 << 17  # bytes: arguments and an environment
IMPORTS = (
    "aiohttp.web",
    "notifier.cli.commands",
    "notifier.daemon.app",
    "notifier.store",
    "psycopg",
    "rich.live",
    "uvloop",
)


class Child:
    """A process that was started, and where its end is reported."""

    def __init__(self, pid: int, report: int) -> None:
        self.pid = pid
        self.report = report
        self.pidfd = os.pidfd_open(pid)

    def ended(self) -> None:
        """Report its exit code, negative for a signal."""
        _, status = os.waitpid(self.pid, 0)
        with contextlib.suppress(BrokenPipeError):
            os.write(self.report, b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(self.report)
        os.close(self.pidfd)


def serve(requests: socket.socket) -> dict[str, Any] | None:
    """Serve to the end and return None; in each new process, return its request."""
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if isinstance(key.data, Child):
                    selector.unregister(key.fd)
                    key.data.ended()
                    continue
                message, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST, 4)
                if not message:
                    return None
                *streams, report = descriptors
                pid = os.fork()
                if pid == 0:
                    others = [other.data for other in selector.get_map().values() if other.data is not None]
                    requests.close()
                    for number, stream in enumerate(streams):
                        os.dup2(stream, number)
                    for number in (*streams, report, *(n for other in others for n in (other.report, other.pidfd))):
                        os.close(number)
                    request: dict[str, Any] = json.loads(message)
                    return request
                for stream in streams:
                    os.close(stream)
                os.write(report, b"%d\n" % pid)
                child = Child(pid, report)
                selector.register(child.pidfd, selectors.EVENT_READ, child)


def become(request: dict[str, Any]) -> None:
    """Make this process like one that was started by `exec`: its directory, environment, arguments and streams."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = ["notifier", *request["args"]]
    sys.stdin = _stream(0, "r")
    sys.stdout = _stream(1, "w", buffering=1 if os.isatty(1) else -1)
    sys.stderr = _stream(2, "w", buffering=1, errors="backslashreplace")
    if "COVERAGE_PROCESS_CONFIG" in os.environ:
        coverage.process_startup()
    crash_points.install()


def _stream(number: int, mode: str, **options: Any) -> TextIO:
    return cast(TextIO, open(number, mode, encoding="utf-8", closefd=False, **options))  # to the end


def main(requests: socket.socket) -> None:
    """Serve; in a new process, run the program as `python -m notifier` does, and end as Python ends."""
    for name in IMPORTS:
        importlib.import_module(name)
    gc.freeze()  # what is imported is not looked at again, so its pages stay shared
    request = serve(requests)
    if request is not None:
        become(request)
        runpy.run_module("notifier", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    import coverage

    main(socket.socket(fileno=int(sys.argv[1])))
