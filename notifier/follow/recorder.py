"""From something that happened to rows that are safe: chooses endpoints, fixes the bytes, commits, then hands over.

Nothing is offered for sending that is not committed.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from notifier.core import payload, routing
from notifier.core.errors import StoreUnavailable
from notifier.core.machine import Step
from notifier.core.model import Address, Delivery, Event, EventType, LostReason, Observation, Phase, Record, Watch
from notifier.core.routing import Route
from notifier.runtime.clock import Clock
from notifier.runtime.counters import Counter
from notifier.runtime.metrics import Metrics
from notifier.runtime.tracing import UNTRACED, Tracing
from notifier.runtime.wake import Wake
from notifier.store import ChangedEndpoint, EndpointChange, Store

if TYPE_CHECKING:
    from notifier.sources.archive import Archive

log = structlog.get_logger(__name__)

ENTROPY_BYTES = 10  # of an id
DRAWN = 256  # ids for which entropy is drawn at once


class DeliveryPlaces(Protocol):
    """Places in memory for the deliveries of one commit; leaving the block frees them."""

    def take(self, endpoint: str) -> bool:
        """Reserve a place for one more delivery to it; return False if the delivery has to wait in the store."""
        ...

    def fill(self, lane: int | None, records: Sequence[Record], deliveries: Sequence[Delivery]) -> None:
        """Send after the commit: `records` of the watch `lane`, and those of their deliveries that are this node's."""
        ...


class DeliveryQueues(Protocol):
    """Sends deliveries that are committed."""

    def reserve(self) -> AbstractContextManager[DeliveryPlaces]:
        """Return the block in which a commit reserves places."""
        ...


Save = Callable[[Sequence[Record]], Awaitable[Sequence[Delivery] | None]]  # None: nothing was to be saved


class _Entropy:
    """Draws the random part of an id. It asks the system for many at once: asking costs more than the rest of an id."""

    __slots__ = ("_drawn",)

    def __init__(self) -> None:
        self._drawn: list[int] = []

    def __call__(self) -> int:
        if not self._drawn:
            drawn = secrets.token_bytes(ENTROPY_BYTES * DRAWN)
            self._drawn = [
                int.from_bytes(drawn[start : start + ENTROPY_BYTES], "big")
                for start in range(0, len(drawn), ENTROPY_BYTES)
            ]
        return self._drawn.pop()


class _Counters(dict[EventType, Counter]):
    """The counter of each type of event, once it was needed: looking one up by its labels is slow."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._events = metrics.events

    def __missing__(self, kind: EventType) -> Counter:
        counter = self[kind] = self._events.labels(kind.value)
        return counter


class Recorder:
    """Records events; the only way from an observation to the outbox."""

    def __init__(
        self,
        *,
        store: Store,
        outbox: DeliveryQueues,
        metrics: Metrics,
        clock: Clock,
        routes: Sequence[Route] = (),
        committed: Wake | None = None,
        tracing: Tracing = UNTRACED,
    ) -> None:
        """Create a recorder; `committed` is set after each commit."""
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._counters = _Counters(metrics)
        self._entropy = _Entropy()
        self._committed = committed or Wake()
        self.tracing = tracing
        self.archive: Archive | None = None  # of results; replaced by a reload
        self.routes: Sequence[Route] = routes  # replaced as a whole by a reload

    def is_heard(self, watch: Watch) -> bool:
        """Return whether anybody receives the events of a watch: an endpoint, or its own callback."""
        if watch.callback is not None:
            return True
        return any(routing.receivers(self.routes, watch.source, watch.labels, watch.endpoints))

    def archives(self, observation: Observation) -> bool:
        """Return whether an observation has results that are archived before it is told."""
        return self.archive is not None and bool(observation.urls) and observation.phase is Phase.SUCCEEDED

    @property
    def archive_problem(self) -> str | None:
        """Return why results cannot be kept where they should be; None: nothing is known."""
        return None if self.archive is None else self.archive.problem

    async def complete(self, watch: Watch, observation: Observation) -> Observation:
        """Return an observation with its results kept, if it ends the watch with a success and results are archived.

        This may take minutes. Until it is over nothing of the observation is committed: after a crash, or a
        cancellation, the upstream is asked again.
        """
        archive = self.archive
        if archive is None or not self.archives(observation) or watch.ended:
            return observation
        return replace(observation, kept=await archive.keep(watch.source, watch.id, observation.urls))

    def record(self, step: Step) -> Coroutine[Any, Any, None]:
        """Commit a watch's step that makes events. Raises StaleWrite.

        Cancel it only when the process ends: nobody hands on the deliveries that the store has committed by then.
        """
        if self.tracing is UNTRACED:
            return self._save(step.watch, step.events, None, step.watch.traceparent)
        return self._record_traced(step)

    async def _record_traced(self, step: Step) -> None:
        watch = step.watch
        about = {"notifier.source": watch.source, "notifier.task": watch.id, "notifier.state": watch.state or ""}
        with self.tracing.span("observe", watch.traceparent, about) as span:
            await self._commit(watch, step.events, traceparent=span.traceparent)

    async def announce(self, event: Event, change: EndpointChange | None = None) -> ChangedEndpoint | None:
        """Commit an operators' event; one that no endpoint asks for is only counted. Raises StoreUnavailable.

        With a change of an endpoint it is committed together with that, and only if there is anything to change.
        """
        if change is None:
            await self._commit(None, (event,))
            return None
        changed: list[ChangedEndpoint] = []

        async def save(records: Sequence[Record]) -> Sequence[Delivery] | None:
            changed.append(await self._store.endpoints.change(change, records))
            return changed[0].deliveries if changed[0].done else None

        await self._commit(None, (event,), save)
        return changed[0]

    async def announce_or_log(self, event: Event, change: EndpointChange | None = None) -> ChangedEndpoint | None:
        """Announce an event; if the daemon stops while the store is away, only the log has it, and None is returned.

        Raises StoreUnavailable for a change that does not wait: it was asked for, and is refused.
        """
        try:
            return await self.announce(event, change)
        except StoreUnavailable:
            if change is not None and not change.hold:
                raise
            log.warning("event.not_kept", type=event.type.value)
            return None

    async def _commit(
        self,
        watch: Watch | None,
        events: Sequence[Event],
        save: Save | None = None,
        *,
        traceparent: str | None = None,
    ) -> None:
        with self.tracing.span("commit", traceparent, {"notifier.events": len(events)}) as span:
            await self._save(watch, events, save, span.traceparent)

    async def _save(
        self, watch: Watch | None, events: Sequence[Event], save: Save | None, traceparent: str | None
    ) -> None:
        with self._outbox.reserve() as places:
            records = [self._record(event, places, traceparent) for event in events]
            deliveries = await (self._store.outbox.commit(watch, records) if save is None else save(records))
            if deliveries is None:
                return
            self._committed.set()
            for event in events:
                self._counters[event.type].value += 1
            places.fill(None if watch is None else watch.pk, records, deliveries)

    def _record(self, event: Event, places: DeliveryPlaces, traceparent: str | None) -> Record:
        watched = None if event.watch is None else self._clock.elapsed(event.watch.created_at, event.at)
        return Record(
            id=payload.message_id(event.at, self._entropy()),
            type=event.type,
            at=event.at,
            sequence=event.watch.sequence if event.watch else 0,
            body=payload.body(event, watched=watched),
            addresses=self._addresses(event, places),
            traceparent=traceparent,
            lost=LostReason(event.extra["reason"]) if event.type is EventType.LOST else None,
        )

    def _addresses(self, event: Event, places: DeliveryPlaces) -> tuple[Address, ...]:
        addresses: tuple[Address, ...] = ()
        for route in routing.select(self.routes, event):
            addresses += (Address(endpoint=route.endpoint, latest=route.latest, take=places.take(route.endpoint)),)
        if (callback := routing.callback(event)) is not None:
            addresses += (Address(endpoint=callback, take=places.take(callback)),)
        return addresses
