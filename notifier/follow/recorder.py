"""From something that happened to rows that are safe: chooses endpoints, fixes the bytes, commits, then hands over.

Nothing is offered for sending that is not committed.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

from notifier.core import payload, routing
from notifier.core.machine import Step
from notifier.core.model import Address, Delivery, Event, EventType, LostReason, Record, Watch
from notifier.core.routing import Route
from notifier.runtime.metrics import Metrics
from notifier.store import ChangedEndpoint, EndpointChange, Store

ENTROPY_BITS = 80


class Outbox(Protocol):
    """Who sends what was committed."""

    def promise(self, endpoint: str) -> bool:
        """Keep a place in memory for one more delivery to it, if there is one; otherwise it waits in the store."""
        ...

    def redeem(self, endpoint: str) -> None:
        """Take a promised place back: the delivery was offered, or there is none."""
        ...

    def stored(self, endpoint: str) -> None:
        """Hear that the store holds a new delivery that is not ours yet."""
        ...

    def newer(self, endpoint: str, lane: int, event_id: str) -> None:
        """Hear that a newer event of a watch was committed for an endpoint that wants only the latest."""
        ...

    def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Take deliveries that are ready and this node's."""
        ...


Save = Callable[[Sequence[Record]], Awaitable[Sequence[Delivery] | None]]  # None: nothing was to be saved


class Recorder:
    """Records events; the only way from an observation to the outbox."""

    def __init__(
        self,
        *,
        store: Store,
        outbox: Outbox,
        metrics: Metrics,
        routes: Sequence[Route] = (),
        committed: Callable[[], None] = lambda: None,
        entropy: Callable[[int], int] = secrets.randbits,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._metrics = metrics
        self._committed = committed
        self._entropy = entropy
        self.routes: Sequence[Route] = routes  # replaced as a whole by a reload

    async def record(self, step: Step) -> None:
        """Commit a watch's step. Raises StaleWrite.

        To be cancelled only when the process ends: what the store has committed by then is handed on by nobody.
        """
        if step.events:
            await self._commit(step.watch, step.events)

    async def announce(self, event: Event, change: EndpointChange | None = None) -> ChangedEndpoint | None:
        """Commit an operators' event; one that no endpoint asks for is only counted.

        With a change of an endpoint it is committed together with that, and only if there is anything to change.
        """
        if change is None:
            await self._commit(None, (event,))
            return None
        changed: list[ChangedEndpoint] = []

        async def save(records: Sequence[Record]) -> Sequence[Delivery] | None:
            changed.append(await self._store.change_endpoint(change, records))
            return changed[0].deliveries if changed[0].done else None

        await self._commit(None, (event,), save)
        return changed[0]

    async def _commit(self, watch: Watch | None, events: Sequence[Event], save: Save | None = None) -> None:
        records = [self._record(event) for event in events]
        addresses = [(record.id, address) for record in records for address in record.addresses]
        try:
            deliveries = await (self._store.commit(watch, records) if save is None else save(records))
            if deliveries is None:
                return
            self._committed()
            for event in events:
                self._metrics.events.labels(event.type.value).inc()
            for event_id, address in addresses:
                if address.latest and watch is not None:
                    self._outbox.newer(address.endpoint, watch.pk, event_id)
                if not address.take:
                    self._outbox.stored(address.endpoint)
            self._outbox.offer(deliveries)
        finally:
            for _, address in addresses:
                if address.take:
                    self._outbox.redeem(address.endpoint)

    def _record(self, event: Event) -> Record:
        return Record(
            id=payload.message_id(event.at, self._entropy(ENTROPY_BITS)),
            type=event.type,
            at=event.at,
            sequence=event.watch.sequence if event.watch else 0,
            body=payload.body(event),
            addresses=tuple(self._addresses(event)),
            lost=LostReason(event.extra["reason"]) if event.type is EventType.LOST else None,
        )

    def _addresses(self, event: Event) -> Iterator[Address]:
        for route in routing.select(self.routes, event):
            yield Address(endpoint=route.endpoint, latest=route.latest, take=self._outbox.promise(route.endpoint))
        if (callback := routing.callback(event)) is not None:
            yield Address(endpoint=callback, take=self._outbox.promise(callback))
