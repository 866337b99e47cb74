"""A watch with what is remembered of its connections, while a feed follows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from notifier.core.errors import SourceError
from notifier.core.model import Observation, Watch
from notifier.core.reconnect import WELL, Health
from notifier.follow.source import Stream


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

    def describe(self, like: Watch) -> None:
        """Take over labels, metadata, endpoints and callback."""
        self.watch = _described(self.watch, like)

    def moved(self, watch: Watch) -> None:
        """Take over the watch of a step that was recorded; what was described anew meanwhile stays."""
        now = self.watch
        as_it_was = (watch.labels, watch.metadata, watch.endpoints, watch.callback)
        if (now.labels, now.metadata, now.endpoints, now.callback) != as_it_was:
            watch = _described(watch, now)
        self.watch = watch

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


def _described(watch: Watch, like: Watch) -> Watch:
    return replace(watch, labels=like.labels, metadata=like.metadata, endpoints=like.endpoints, callback=like.callback)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a connection ended."""

    error: SourceError | None = None
    observed: bool = False
    hint: float | None = None  # seconds that the stream asked us to wait
