"""A watch with what is remembered of its connections, while a feed follows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from notifier.core.errors import SourceError
from notifier.core.model import Observation, Watch
from notifier.core.reconnect import WELL, Health
from notifier.interfaces import Stream


@dataclass(slots=True, eq=False)
class Subscription:
    """One watch; of its connections there is one at most at a time."""

    watch: Watch
    health: Health = WELL
    task: asyncio.Task[None] | None = None  # while it is connected or connecting
    stream: Stream | None = None
    waiting: bool = False  # the task waits for the next observation, and may be interrupted
    interrupted: bool = False  # and was
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
        """End the wait for the next observation, if there is one.

        What asyncio.timeout does, without an object and a lookup for each of thousands of observations a second.
        """
        if self.waiting and not self.interrupted and self.task is not None:
            self.interrupted = True
            self.task.cancel()

    async def next(self, stream: Stream) -> Observation | None:
        """Wait for the next observation; None at the end. Raises TimeoutError when interrupted."""
        self.waiting = True
        try:
            return await anext(stream, None)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.interrupted and task is not None and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            self.waiting = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a connection ended."""

    error: SourceError | None = None
    observed: bool = False
    hint: float | None = None  # seconds that the stream asked us to wait
