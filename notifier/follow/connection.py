"""The connections of one source: each is opened, read to its end, and what it shows is recorded as it comes.

Who may connect when, and what follows an end, is the feed's to say (`feed.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from notifier.core import machine
from notifier.core.errors import NoContent, Refused, SourceError, StaleWrite, TaskNotFound, Unavailable, Unreadable
from notifier.core.model import Micros, Observation
from notifier.follow.recorder import Recorder
from notifier.follow.source import Source, Stream
from notifier.follow.subscription import Ended, Subscription
from notifier.runtime.metrics import Metrics

log = structlog.get_logger(__name__)

_OUTCOMES: tuple[tuple[type[SourceError], str], ...] = (
    (Refused, "refused"),
    (TaskNotFound, "not_found"),
    (Unreadable, "unreadable"),
    (NoContent, "no_content"),
    (Unavailable, "unavailable"),
)


class Connecting:
    """Connects subscriptions to their source."""

    def __init__(
        self,
        *,
        source: Source,
        recorder: Recorder,
        metrics: Metrics,
        clock: Callable[[], Micros],
        idle_timeout: float,
    ) -> None:
        self._source = source
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self.idle_timeout = idle_timeout  # seconds without a byte after which a subscription is interrupted
        self._troubles: set[str] = set()  # said so already
        self._gauge = metrics.streams_open.labels(source.name)

    async def follow(self, subscription: Subscription) -> Ended:
        """Connect, read to the end, and tell how it ended; the boundary that keeps one watch's fault from the rest.

        Raises StaleWrite when the watch is no longer as we know it.
        """
        stream: Stream | None = None
        error: SourceError | None = None
        fault = False  # our own
        try:
            stream = await self._open(subscription)
            await self._read(subscription, stream)
        except SourceError as exc:
            error = exc
        except TimeoutError:
            error = Unavailable(f"no bytes for {self.idle_timeout:g} s")
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
            self._trouble(error)
            return Ended(error=error)
        # A fault of ours that comes back with each observation must not come back without ever longer pauses.
        return Ended(error=error, observed=stream.observations > 0 and not fault, hint=stream.retry)

    async def _open(self, subscription: Subscription) -> Stream:
        outcome = "failed"
        try:
            stream = await self._source.open(subscription.watch.id)
            outcome = "open"
        except SourceError as exc:
            outcome = next(name for kind, name in _OUTCOMES if isinstance(exc, kind))
            raise
        finally:
            self._metrics.stream_connects.labels(self._source.name, outcome).inc()
        subscription.stream = stream
        self._gauge.inc()
        return stream

    async def _read(self, subscription: Subscription, stream: Stream) -> None:
        while not (subscription.watch.ended or subscription.gone or subscription.reopen):
            observation = await subscription.next(stream)
            if observation is None:
                return
            if self._troubles:
                log.info("source.recovered", source=self._source.name, after=sorted(self._troubles))
                self._troubles.clear()
            await self._observe(subscription, observation)

    async def _observe(self, subscription: Subscription, observation: Observation) -> None:
        async with subscription.lock:
            step = machine.step(subscription.watch, observation, self._clock())
            if step.events:
                subscription.saving = True
                try:
                    await self._recorder.record(step)
                    subscription.moved(step.watch)
                finally:
                    subscription.saving = False

    def _trouble(self, error: SourceError | None) -> None:
        """Say once what is wrong with a source, not once for each of its thousands of watches."""
        kind = next((name for kind, name in _OUTCOMES if isinstance(error, kind)), "")
        if kind in {"refused", "unreadable", "unavailable"} and kind not in self._troubles:
            self._troubles.add(kind)
            hint = "check the source's token" if kind == "refused" else "trying again"
            log.warning(f"source.{kind}", source=self._source.name, error=str(error), hint=hint)
