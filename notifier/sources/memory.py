"""The memory that large snapshots may take while they arrive, over all streams of the process."""

from __future__ import annotations

SMALL = 64 << 10  # bytes that every stream may hold without asking
LIMIT = 256 << 20  # bytes for all together


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
