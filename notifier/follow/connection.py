"""The connections of one source: each is opened, read to its end, and its observations are recorded as they come.

The feed decides who may connect when, and what follows the end of a connection (`feed.py`).
"""

from __future__ import annotations

import asyncio

import structlog

from notifier.core.errors import SourceError, StaleWrite, Unavailable
from notifier.core.history import Replay
from notifier.core.reconnect import Ending
from notifier.follow.observer import Observer
from notifier.follow.subscription import Subscription
from notifier.runtime.metrics import Metrics
from notifier.sources.sse import SseSource, SseStream

BURST_PAUSE = 0.2  # seconds without a snapshot that end the first burst of a stream
BURST_LONGEST = 1.0  # seconds after which the burst is over, though the stream never paused

log = structlog.get_logger(__name__)


class Connector:
    """Connects subscriptions to their source."""

    def __init__(
        self,
        *,
        source: SseSource,
        observer: Observer,
        metrics: Metrics,
    ) -> None:
        self._source = source
        self._observer = observer
        self._metrics = metrics
        self._gauge = metrics.streams_open.labels(source.name)

    async def follow(self, subscription: Subscription) -> Ending:
        """Connect, read to the end, and return how it ended.

        This is the boundary that keeps one watch's fault from the others. Raises StaleWrite when the watch is no longer
        as we know it.
        """
        stream: SseStream | None = None
        error: SourceError | None = None
        fault = False  # our own
        sequence = subscription.watch.sequence
        # The last look before a deadline asks for everything: an upstream that goes on behind an ID may have nothing.
        place = subscription.last_event_id if subscription.overdue is None else ""
        try:
            stream = await self._open(subscription, place)
            if subscription.watch.state is not None:
                await self._catch_up(subscription, stream)
            while subscription.reads:
                observation = await anext(stream, None)
                if observation is not None:
                    await self._observer.observe(subscription, observation, self._source.settings)
                subscription.remember(place=stream.last_event_id)
                if observation is None:
                    break
            error = subscription.cut or (None if stream.observations else stream.unread)
        except SourceError as exc:
            error = exc
            if stream is not None:
                subscription.remember(place=stream.last_event_id)
        except StaleWrite:
            raise
        except Exception:
            log.exception("watch.failed", source=self._source.name, id=subscription.watch.id)
            error, fault = Unavailable("an internal error; see the log"), True
        finally:
            if stream is not None:
                stream.close()
                self._gauge.dec()
        if stream is None:
            return Ending(error=error, hint=subscription.retry)
        if stream.retry is not None:
            subscription.retry = stream.retry
        # A fault of ours that comes back with each observation must not come back without ever longer pauses.
        return Ending(
            error=error,
            opened=True,
            observed=stream.observations > 0 and not fault,
            news=subscription.watch.sequence > sequence and not fault,
            silent=not (stream.heard or place),
            unread=stream.unread,
            lasted=asyncio.get_running_loop().time() - subscription.opened,
            hint=subscription.retry,
        )

    async def _open(self, subscription: Subscription, place: str) -> SseStream:
        outcome = SourceError.kind
        try:
            stream = await self._source.open(
                subscription.watch.id, last_event_id=place, variables=subscription.watch.variables
            )
            outcome = "open"
        except SourceError as exc:
            outcome = exc.kind
            if not isinstance(exc, Unavailable):
                subscription.last_event_id = ""  # the upstream may refuse the ID itself
            raise
        finally:
            self._metrics.stream_connects.labels(self._source.name, outcome).value += 1
        subscription.stream = stream
        subscription.look_at = 0.0  # the stream has limits of its own
        subscription.opened = asyncio.get_running_loop().time()
        self._gauge.inc()
        return stream

    async def _catch_up(self, subscription: Subscription, stream: SseStream) -> None:
        """Read the first burst of a stream that was connected again, and record only its news.

        The burst is over at the first pause, at a terminal snapshot, or after a second.
        """
        replay = Replay(subscription.watch, subscription.last_event_id, subscription.began)
        error: SourceError | None = None
        try:
            ended = await self._read_burst(stream, replay)
        except SourceError as exc:
            error, ended = exc, True
        for observation in replay.news(ended=ended):
            if not subscription.reads:
                return
            await self._observer.observe(subscription, observation, self._source.settings)
        subscription.remember(place=stream.last_event_id)
        if error is not None:
            raise error

    async def _read_burst(self, stream: SseStream, replay: Replay) -> bool:
        """Return whether the stream is over."""
        loop = asyncio.get_running_loop()
        end = None
        while not replay.over:
            pause = None if end is None else min(end, loop.time() + BURST_PAUSE)
            try:
                async with asyncio.timeout_at(pause):
                    observation = await anext(stream, None)
            except TimeoutError:
                if not stream.reading:
                    return False
                await stream.settle()  # it came in time
                continue
            if observation is None:
                return True
            replay.add(observation)
            end = end or loop.time() + BURST_LONGEST
        return False
