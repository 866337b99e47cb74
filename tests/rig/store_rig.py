"""A store that runs, and steps of watches as the recorder makes them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from waits import PATIENCE

from notifier.core import machine, payload
from notifier.core.machine import Step
from notifier.core.model import (
    Address,
    Delivery,
    Event,
    EventType,
    LostReason,
    Micros,
    NewWatch,
    Observation,
    Phase,
    Record,
    Watch,
)
from notifier.core.retry import Attempt, Delivered
from notifier.store import BEFORE_ALL, DeliveryDetail, Done, Settlement, Store, Verdict, WatchChanges

SECOND = 1_000_000
# Microseconds, a whole second: the present, since the daemon's clock runs beside it and gives up overdue watches.
T0 = int(time.time()) * SECOND
LATER = T0 + 60 * SECOND
PHASES = {
    "queueing": Phase.QUEUED,
    "processing": Phase.RUNNING,
    "success": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
}
APP = (Address(endpoint="app"),)

_entropy = itertools.count(1)


@asynccontextmanager
async def running(url: str, *, lost: Callable[[], None] | None = None, **options: Any) -> AsyncIterator[Store]:
    """Open a store and run its writer; close both in order.

    As a node it may be silent for long, since a busy machine may keep it from any sign of life. `lost` is called once
    others have declared it dead.
    """
    store = await asyncio.to_thread(partial(Store.open, url, **{"timeout": PATIENCE} | options))
    writer = asyncio.create_task(store.run(lost=lost), name="store")
    try:
        yield store
    finally:
        await store.close()
        await writer
        store.shutdown()


def wanted(task_id: str = "1", **described: Any) -> NewWatch:
    """Return a new watch of the source `vidu`."""
    return NewWatch(**({"source": "vidu", "id": task_id} | described))


async def follow(store: Store, *ids: str, origin: str = "api", now: Micros = T0) -> list[Watch]:
    """Add watches, and claim every watch that is free."""
    await store.watches.apply([wanted(task_id) for task_id in ids], origin=origin, now=now)
    return await store.watches.claim(1_000_000)


async def relist(
    store: Store, *watches: NewWatch, origin: str = "file", now: Micros = T0
) -> tuple[WatchChanges, list[Watch]]:
    """Store the watches of an origin, and remove its others; return the changes, and the watches removed."""
    applied = await store.watches.apply(watches, origin=origin, now=now)
    removed: list[Watch] = []
    after: int | None = BEFORE_ALL
    while after is not None:
        gone, after = await store.watches.remove_others(set(applied.keys), origin=origin, now=now, after=after)
        removed += gone
    return applied, removed


def observed(watch: Watch, state: str, at: Micros) -> Step:
    """Return the step of a watch that observes a new state."""
    return machine.step(watch, Observation(state=state, phase=PHASES.get(state, Phase.RUNNING)), at)


def recorded(step: Step, to: Sequence[Address] = APP) -> list[Record]:
    """Return the records of a step's events."""
    return [record(event, to) for event in step.events]


def record(event: Event, to: Sequence[Address] = APP) -> Record:
    """Return the record of an event."""
    return Record(
        id=payload.message_id(event.at, next(_entropy)),
        type=event.type,
        at=event.at,
        sequence=event.watch.sequence if event.watch else 0,
        body=payload.body(event),
        addresses=tuple(to),
        traceparent=event.watch.traceparent if event.watch else None,
        lost=LostReason(event.extra["reason"]) if event.type is EventType.LOST else None,
    )


def for_operators(at: Micros = T0) -> Event:
    """Return an event that belongs to no watch."""
    return Event(type=EventType.ENDPOINT_DISABLED, at=at, extra={"endpoint": "app", "reason": "http_410"})


async def move(
    store: Store, watch: Watch, state: str, *, at: Micros = T0, to: Sequence[Address] = APP
) -> tuple[Watch, list[Delivery]]:
    """Commit a change of state; return the watch after it, and the deliveries to send now."""
    step = observed(watch, state, at)
    return step.watch, await store.outbox.commit(step.watch, recorded(step, to))


async def lose(store: Store, watch: Watch, *, at: Micros = T0, to: Sequence[Address] = APP) -> Watch:
    """Give up a watch."""
    step = machine.give_up(watch, LostReason.NOT_FOUND, "unknown", at)
    await store.outbox.commit(step.watch, recorded(step, to))
    return step.watch


def settled(
    delivery: Delivery,
    verdict: Verdict | None = None,
    *,
    at: Micros = T0,
    take: bool = True,
    tried: bool = True,
    latest: bool = False,
) -> Settlement:
    """Return the settlement of a delivery; by default it was accepted."""
    attempt = Attempt(at=at, outcome=Delivered(), status=200, seconds=0.01) if tried else None
    return Settlement(delivery=delivery, verdict=verdict or Done(), at=at, attempt=attempt, take=take, latest=latest)


async def claim(store: Store, *endpoints: str, now: Micros = T0, room: int = 100) -> list[Delivery]:
    """Claim the due deliveries of endpoints."""
    return list((await store.outbox.claim(dict.fromkeys(endpoints or ("app",), room), now=now)).deliveries)


async def shown(store: Store, number: int) -> DeliveryDetail:
    """Return a delivery that exists."""
    detail = await store.lists.delivery(number)
    assert detail is not None
    return detail
