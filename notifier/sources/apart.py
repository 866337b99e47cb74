"""What large documents take: memory while they arrive, and a thread while they are read.

They are read in a thread, since the loop would stand still meanwhile: a MiB can take a tenth of a second. One is read
at a time for a source, so that many large ones do not crowd the loop's thread out of the interpreter. Those that wait
for their turn take memory, and count against the limit of all streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from notifier.core.errors import Unavailable
from notifier.runtime.threads import NoThread, beside

T = TypeVar("T")

AT_ONCE = 64 << 10  # bytes; reading so many takes the loop less than a hundredth of a second
SMALL = 64 << 10  # bytes of a snapshot that every stream may hold without asking
LIMIT = 256 << 20  # bytes of large ones for all streams together


class Memory:
    """Counts bytes against a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def change(self, before: int, after: int) -> bool:
        """Hold `after` bytes where `before` were held; return False, and change nothing, if they are too many."""
        if after > before and self.used - before + after > self._limit:
            return False
        self.used += after - before
        return True


SHARED = Memory(LIMIT)  # of this process


class Apart:
    """The place where a source's large documents are read."""

    def __init__(self, memory: Memory = SHARED) -> None:
        self._turn = asyncio.Lock()
        self._memory = memory

    async def read(self, size: int, call: Callable[[], T]) -> T:
        """Return what a call returns that reads a document of `size` bytes, and raise what it raises.

        Raises Unavailable when large documents together take too much memory.
        """
        if size <= AT_ONCE:
            return call()
        if not self._memory.change(0, size):
            raise Unavailable("large snapshots of all streams together take too much memory for now")
        try:
            async with self._turn:
                return await _beside(call)
        finally:
            self._memory.change(size, 0)


async def _beside(call: Callable[[], T]) -> T:
    try:
        return await beside(call, name="large document")
    except NoThread:  # better on the loop than not at all
        return call()
