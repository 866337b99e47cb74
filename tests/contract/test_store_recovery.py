"""When an endpoint recovers, the store brings forward the deliveries that failed in the outage, and no others."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from store_rig import SECOND, T0, claim, follow, move, shown

from notifier.core.model import Delivery, Micros, Watch
from notifier.core.retry import Attempt, Failed
from notifier.store import Later, Recovery, Settlement, Store
from notifier.store.recovery import BATCH, CHUNK, STEP

HOUR = 3600 * SECOND
NOW = T0 + HOUR
RECOVERY = Recovery(endpoint="app", at=NOW, failing_since=T0, created_after=T0 - HOUR)


async def fail(
    store: Store, delivery: Delivery, *, at: Micros = T0, due: Micros = T0 + 6 * HOUR, attempt: int = 3, **more: Any
) -> None:
    """Save an attempt that failed and is to be repeated at `due`."""
    outcome = Failed(**({"reason": "http_500"} | more))
    verdict = Later(due=due, attempt=attempt, reason=outcome.reason)
    tried = Attempt(at=at, outcome=outcome, seconds=0.5)
    await store.outbox.settle(Settlement(delivery=delivery, verdict=verdict, at=at, attempt=tried))


async def failed(store: Store, **more: Any) -> Delivery:
    """Have a delivery fail."""
    *_, watch = await follow(store, "1")
    _, (delivery,) = await move(store, watch, "success")
    await fail(store, delivery, **more)
    return delivery


@pytest.mark.parametrize("reason", ["http_500", "http_503", "timeout", "connect", "reset", "dns", "http_408"])
async def test_what_failed_by_the_outage_goes_out_now(store: Store, reason: str) -> None:
    """Long before it was due, and the attempt that the outage cost is given back."""
    delivery = await failed(store, reason=reason)
    assert await claim(store, now=NOW) == []
    assert await store.outbox.hasten(RECOVERY) == 1
    (again,) = await claim(store, now=NOW)
    assert (again.id, again.event_id, again.attempt) == (delivery.id, delivery.event_id, 2)


@pytest.mark.parametrize(
    "how",
    [
        {"retry_after": 6 * 3600.0},
        {"reason": "http_404"},
        {"reason": "redirect"},
        {"reason": "internal"},
        {"at": T0 - 60 * SECOND},
        {"due": NOW + SECOND},
    ],
    ids=["the time was asked for", "the message", "the setup", "ourselves", "before the outage", "due anyway"],
)
async def test_what_waits_for_another_reason_waits_on(store: Store, how: dict[str, object]) -> None:
    """Never before the time that the endpoint has named, and not for what its recovery does not change."""
    await failed(store, **how)
    assert await store.outbox.hasten(RECOVERY) == 0
    assert await claim(store, now=NOW) == []


async def test_a_hint_that_is_past_holds_nothing(store: Store) -> None:
    """`Retry-After: 0` asks for no patience."""
    await failed(store, retry_after=0.0)
    assert await store.outbox.hasten(RECOVERY) == 1


async def test_the_last_attempt_decides(store: Store) -> None:
    """An earlier one in the outage is no reason if the last one named a time, or failed for another reason."""
    delivery = await failed(store, due=T0 + SECOND)
    await claim(store, now=T0 + SECOND)
    await fail(store, delivery, at=T0 + SECOND, retry_after=9 * 3600.0)
    assert await store.outbox.hasten(RECOVERY) == 0


async def test_what_is_older_than_its_schedule_is_left_to_it(store: Store) -> None:
    """Outage after outage gives attempts back, but not without end."""
    await failed(store)
    assert await store.outbox.hasten(Recovery(endpoint="app", at=NOW, failing_since=T0, created_after=T0 + 1)) == 0
    assert await store.outbox.hasten(Recovery(endpoint="app", at=NOW, failing_since=T0, created_after=T0)) == 1


async def test_another_endpoint_is_not_concerned(store: Store) -> None:
    """Each has its own outages."""
    await failed(store)
    assert await store.outbox.hasten(Recovery(endpoint="ops", at=NOW, failing_since=T0, created_after=T0)) == 0


async def test_what_is_being_sent_is_not_touched(store: Store) -> None:
    """It is its node's."""
    delivery = await failed(store)
    await claim(store, now=T0 + 6 * HOUR)
    assert await store.outbox.hasten(RECOVERY) == 0
    await fail(store, delivery, at=T0 + 1)  # settled as if nothing had happened


async def test_only_the_first_of_a_watch_goes_and_the_rest_follow_it(store: Store) -> None:
    """Order is kept: what waits behind it stays behind it."""
    (watch,) = await follow(store, "1")
    watch, (first,) = await move(store, watch, "queueing")
    await move(store, watch, "success")
    await fail(store, first)
    assert await store.outbox.hasten(RECOVERY) == 1
    assert [delivery.id for delivery in await claim(store, now=NOW)] == [first.id]


async def test_many_are_spread_in_the_order_in_which_they_were_due(store: Store) -> None:
    """More than one transaction takes, never more at a time than a batch, and none later than it was due."""
    count = CHUNK + BATCH
    numbered: dict[int, int] = {}

    async def deliver(n: int, watch: Watch) -> None:
        _, (delivery,) = await move(store, watch, "success")
        place = n * 7 % count  # in another order than they were made
        numbered[delivery.id] = place
        await fail(store, delivery, due=NOW + 6 * HOUR + place)

    watches = await follow(store, *map(str, range(count)))
    await asyncio.gather(*(deliver(n, watch) for n, watch in enumerate(watches)))
    assert await store.outbox.hasten(RECOVERY) == count
    order: list[int] = []
    for batch in range(count // BATCH):
        taken = await claim(store, now=NOW + STEP * batch, room=1000)
        assert len(taken) == BATCH
        order += [numbered[delivery.id] // BATCH for delivery in taken]
    assert all(a <= b for a, b in pairwise(order))


async def test_what_is_due_before_its_turn_keeps_its_time(store: Store) -> None:
    """A turn in the row makes nothing later."""
    for n, watch in enumerate(await follow(store, *map(str, range(3 * BATCH)))):
        _, (delivery,) = await move(store, watch, "success")
        await fail(store, delivery, due=NOW + (6 * HOUR if n < 2 * BATCH else 3 * SECOND))
    assert await store.outbox.hasten(RECOVERY) == 3 * BATCH
    assert len(await claim(store, now=NOW + 3 * SECOND, room=1000)) == 3 * BATCH


async def test_the_log_tells_what_was_asked_for(store: Store) -> None:
    """With each attempt, for people."""
    delivery = await failed(store, retry_after=90.0)
    told = await shown(store, delivery.id)
    assert [attempt["retry_after"] for attempt in told["attempts"]] == [90.0]
