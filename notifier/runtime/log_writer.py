"""Writes lines to a stream. It drops lines and counts them before it raises an error or blocks the program for long."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import TextIO

PATIENCE = 1.0  # seconds to wait for a slow reader in each PERIOD; the event loop stands still meanwhile
PERIOD = 60.0  # seconds
PIECE = select.PIPE_BUF  # bytes that a pipe which polls as writable takes without blocking (pipe(7))


class LineWriter:
    """The object that loggers write to. structlog calls its methods by the names of levels."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finaliser may log in the middle of a write
        self.attach(None)

    def attach(self, stream: TextIO | None, *, notice: Callable[[int], str] | None = None) -> None:
        """Write to `stream` from now on; `notice` renders the line that reports a number of dropped lines."""
        with self._lock:
            self._stream, self._notice = stream, notice
            self._poll = select.poll()
            self._torn = False  # the last line was written in part
            self._period, self._patience = time.monotonic(), PATIENCE  # when it began, and what is left of it
            self.lost = 0  # lines since the last that was written
            self._fd: int | None = None
            try:
                self._fd = stream.fileno() if stream is not None else None
            except (OSError, ValueError):  # an object without a descriptor, such as StringIO, or closed
                return
            if self._fd is not None:
                self._poll.register(self._fd, select.POLLOUT)

    def write(self, line: str) -> None:
        """Write a line and its end. Never raises."""
        with self._lock:
            try:
                if self.lost and self._notice is not None and self._put(self._notice(self.lost)):
                    self.lost = 0
                if not self._put(line):
                    self.lost += 1
            except (OSError, ValueError):  # closed: there is no reader left
                self.lost += 1

    msg = debug = info = warning = error = critical = write  # as structlog names its calls

    def _put(self, line: str) -> bool:
        if self._stream is None:
            return False
        if self._fd is None or self._stream.closed:  # a closed one raises: its descriptor may be reused by now
            self._stream.write(line + "\n")
            self._stream.flush()
            return True
        data = (("\n" if self._torn else "") + line + "\n").encode("utf-8", "backslashreplace")
        left = memoryview(data)
        while left and self._writable():
            left = left[os.write(self._fd, left[:PIECE]) :]
            self._torn = True
        if not left:
            self._torn = False
        return not left

    def _writable(self) -> bool:
        if self._poll.poll(0):
            return True
        began = time.monotonic()
        if began - self._period >= PERIOD:
            self._period, self._patience = began, PATIENCE
        if self._patience <= 0:
            return False
        ready = self._poll.poll(self._patience * 1000)
        self._patience -= time.monotonic() - began
        return bool(ready)
