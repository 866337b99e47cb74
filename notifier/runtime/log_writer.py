"""Writes lines to a stream; loses lines, and counts them, rather than raise or hold up the program for long."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import TextIO

PATIENCE = 1.0  # seconds to wait for a reader that has fallen behind: the event loop stands still meanwhile
PATIENCE_LEAST = 0.01  # seconds worth waiting: poll(2) counts in milliseconds
PATIENCE_REGAINED = 1 / 60  # seconds of patience for each second that passes
PIECE = select.PIPE_BUF  # bytes that a pipe which polls as writable takes without blocking (pipe(7))


class LineWriter:
    """The object that loggers write to; knows levels by name only because structlog calls it so."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finaliser may log in the middle of a write
        self._stream: TextIO | None = None
        self._fd: int | None = None
        self._poll = select.poll()
        self._patience, self._regained_at = PATIENCE, time.monotonic()
        self._torn = False  # the last line stopped half-way
        self._notice: Callable[[int], str] | None = None
        self.lost = 0  # lines since the last that was written

    def attach(self, stream: TextIO | None, *, notice: Callable[[int], str] | None = None) -> None:
        """Write to `stream` from now on; `notice` renders the line that owns up to lost ones."""
        with self._lock:
            self._stream, self._notice = stream, notice
            self._fd, self._poll = None, select.poll()
            self._torn, self.lost = False, 0
            self._patience, self._regained_at = PATIENCE, time.monotonic()
            try:
                self._fd = stream.fileno() if stream is not None else None
            except (OSError, ValueError):  # an object without a descriptor, such as StringIO, or closed
                return
            if self._fd is not None:
                self._poll.register(self._fd, select.POLLOUT)

    def write(self, line: str) -> None:
        """Write a line and its end; returns None whatever happens."""
        with self._lock:
            try:
                if self.lost and self._notice is not None and self._put(self._notice(self.lost)):
                    self.lost = 0
                if not self._put(line):
                    self.lost += 1
            except (OSError, ValueError):  # closed: there is nobody left to tell
                self.lost += 1

    msg = debug = info = warning = error = critical = write  # as structlog names its calls

    def _put(self, line: str) -> bool:
        if self._stream is None:
            return False
        if self._fd is None or self._stream.closed:  # a closed one raises: its descriptor may be someone else's by now
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
        self._patience = min(PATIENCE, self._patience + (began - self._regained_at) * PATIENCE_REGAINED)
        self._regained_at = began
        if self._patience < PATIENCE_LEAST:
            return False
        ready = self._poll.poll(self._patience * 1000)
        self._regained_at = time.monotonic()
        self._patience = max(0.0, self._patience - (self._regained_at - began))
        return bool(ready)
