"""Tasks that live no longer than the dispatcher runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


class Tasks:
    """Starts tasks in one group while that is open."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Start tasks inside the block. Leaving it waits for them; an exception in one cancels all the others."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                yield
            finally:
                self._group = None

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> bool:
        """Start a task of that name; close `work` and return False if the group is not open."""
        if self._group is not None:
            try:
                self._group.create_task(work, name=name)
            except RuntimeError:  # a task of the group has failed, and the group is being cancelled
                pass
            else:
                return True
        work.close()
        return False


class Alarm:
    """Calls a function once, at the earliest of the times that it was set to."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Call in `seconds`, unless the call comes earlier anyway."""
        loop = asyncio.get_running_loop()
        at = loop.time() + max(seconds, 0.001)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._ring)

    def cancel(self) -> None:
        """Do not call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        self._call()
