"""A watch with what is remembered of its connections, while a feed follows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from notifier.core.errors import SourceError
from notifier.core.model import Watch
from notifier.core.reconnect import WELL, Health
from notifier.interfaces import Stream


@dataclass(slots=True, eq=False)
class Subscription:
    """One watch; of its connections there is one at most at a time."""

    watch: Watch
    health: Health = WELL
    task: asyncio.Task[None] | None = None  # while it is connected or connecting
    stream: Stream | None = None
    reading: asyncio.Timeout | None = None  # around the wait for the next observation, and only that
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held while a step is taken
    saving: bool = False  # the task is saving a step, and must not be cancelled
    reopen: bool = False  # this connection is to be replaced by a new one
    hurry: bool = False  # should this connection fail, the next one is not to wait
    closing: bool = False  # a final step is on its way
    dropped: bool = False

    @property
    def gone(self) -> bool:
        """Say that it is not to connect any more."""
        return self.dropped or self.closing

    def interrupt(self) -> None:
        """End the wait for the next observation, if there is one; its time may have run out a moment ago."""
        if self.reading is not None and not self.reading.expired():
            self.reading.reschedule(asyncio.get_running_loop().time())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a connection ended."""

    error: SourceError | None = None
    observed: bool = False
    hint: float | None = None  # seconds that the stream asked us to wait
