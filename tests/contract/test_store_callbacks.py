"""The store keeps each destination of callbacks once, finds it when a delivery is due, and forgets it in the end."""

from __future__ import annotations

import pytest
from store_rig import LATER, SECOND, T0, claim, for_operators, move, record, running, settled, wanted

from notifier.core.callback import Callback
from notifier.core.model import Address, Delivery, Watch
from notifier.core.retry import Attempt, Failed
from notifier.store import (
    CallbackClaim,
    CallbackHealth,
    Dead,
    DeliveryFilter,
    Later,
    Recovery,
    Settlement,
    Store,
    WatchFilter,
)

OWN = Callback(url="https://hooks.example.com/t0ken", secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
OTHER = Callback(url="https://other.example.com/t0ken")
LEFT = (Address(endpoint=OWN.name, take=False),)


async def told(store: Store, *ids: str, callback: Callback = OWN) -> list[Watch]:
    """Follow tasks that have a callback."""
    await store.watches.apply([wanted(task, callback=callback) for task in ids], origin="api", now=T0)
    return await store.watches.claim(100)


async def found(store: Store, *, now: int = T0, limit: int = 10) -> list[Callback]:
    """Take destinations in hand."""
    return [callback for callback, _ in (await store.endpoints.take_callbacks(limit, now=now)).taken]


async def held(store: Store, **health: int) -> None:
    await store.endpoints.leave_callbacks({OWN.name: CallbackHealth(**health)}, now=T0)


async def test_a_watch_knows_its_callback_by_name_and_lists_tell_its_origin(store: Store) -> None:
    await store.watches.apply([wanted(callback=OWN)], origin="api", now=T0)
    [watch] = await store.watches.claim(10)
    assert watch.callback == OWN.name
    [item] = await store.lists.watches(WatchFilter(), limit=10)
    shown = await store.lists.watch("vidu", "1")
    assert shown is not None
    assert item["callback"] == shown["callback"] == "https://hooks.example.com"
    assert "t0ken" not in str(item) + str(shown)


async def test_a_watch_wanted_twice_keeps_its_callback(store: Store) -> None:
    await store.watches.apply([wanted(callback=OWN)], origin="api", now=T0)
    applied = await store.watches.apply([wanted(callback=OTHER)], origin="queue", now=LATER)
    assert (applied.unchanged, applied.added, applied.changed) == (1, (), ())
    [watch] = await store.watches.claim(10)
    assert watch.callback == OWN.name


async def test_a_watch_that_is_wanted_again_has_the_callback_that_came_with_it(store: Store) -> None:
    await store.watches.apply([wanted(callback=OWN)], origin="api", now=T0)
    await store.watches.remove("vidu", "1", now=T0)
    await store.watches.apply([wanted(callback=OTHER)], origin="api", now=LATER)
    [watch] = await store.watches.claim(10)
    assert watch.callback == OTHER.name


async def test_a_file_states_the_whole_of_a_watch(store: Store) -> None:
    """It has no callbacks, so that a watch which it takes over has none any more."""
    await store.watches.apply([wanted(callback=OWN)], origin="api", now=T0)
    [changed] = (await store.watches.apply([wanted()], origin="file", now=LATER)).changed
    assert changed.callback is None


async def test_nothing_is_found_of_which_nothing_is_due(store: Store) -> None:
    await told(store, "1")
    assert await store.endpoints.take_callbacks(10, now=LATER) == CallbackClaim()


async def test_what_is_brought_forward_is_found_then(store: Store) -> None:
    """A destination that recovers may be let go of before its deliveries went out."""
    [watch] = await told(store, "1")
    await move(store, watch, "queueing", to=LEFT)
    assert await found(store) == [OWN]
    [delivery] = await claim(store, OWN.name)
    attempt = Attempt(at=T0, outcome=Failed(reason="timeout"))
    retry = Later(due=LATER, attempt=1, reason="timeout")
    await store.outbox.settle(Settlement(delivery=delivery, verdict=retry, at=T0, attempt=attempt))
    await held(store)
    assert await store.endpoints.take_callbacks(10, now=LATER - 1) == CallbackClaim(next_due=LATER)
    at = T0 + 5 * SECOND
    assert await store.outbox.hasten(Recovery(endpoint=OWN.name, at=at, failing_since=T0, created_after=T0)) == 1
    assert await store.endpoints.take_callbacks(10, now=at - 1) == CallbackClaim(next_due=at)
    assert await found(store, now=at) == [OWN]
    assert [again.id for again in await claim(store, OWN.name, now=at)] == [delivery.id]


async def test_what_is_left_to_nobody_is_found(store: Store) -> None:
    """Once: a node that took it holds it. Its deliveries are claimed like any endpoint's."""
    [watch] = await told(store, "1")
    await move(store, watch, "queueing", to=LEFT)
    assert await found(store, now=T0 - 1) == []
    assert await found(store) == [OWN]
    assert await found(store) == []
    [delivery] = await claim(store, OWN.name)
    assert (delivery.endpoint, delivery.attempt) == (OWN.name, 0)


async def test_the_next_that_is_due_is_told(store: Store) -> None:
    one, two = await told(store, "1", "2")
    await move(store, one, "queueing", at=T0, to=LEFT)
    await store.watches.apply([wanted("3", callback=OTHER)], origin="api", now=T0)
    await move(store, two, "queueing", at=LATER, to=(Address(endpoint=OTHER.name, take=False),))
    assert (await store.endpoints.take_callbacks(10, now=T0)).next_due == LATER


async def test_those_that_waited_longest_come_first(store: Store) -> None:
    watches = []
    names = [Callback(url=f"https://example.com/{number}") for number in range(5)]
    for number, callback in enumerate(names):
        watches += await told(store, str(number), callback=callback)
    for number, watch in reversed(list(enumerate(watches))):
        await move(store, watch, "queueing", at=T0 + number, to=(Address(endpoint=names[number].name, take=False),))
    assert set(await found(store, now=LATER, limit=2)) == set(names[:2])
    assert set(await found(store, now=LATER, limit=2)) == set(names[2:4])
    assert await found(store, now=LATER) == names[4:]


async def in_hand(store: Store, task: str = "1") -> tuple[Watch, Delivery]:
    """Have a delivery of a destination that is in hand."""
    [watch] = await told(store, task)
    watch, _ = await move(store, watch, "queueing", to=LEFT)
    assert await found(store) == [OWN]
    [delivery] = await claim(store, OWN.name)
    return watch, delivery


async def test_what_is_to_be_tried_later_is_found_then(store: Store) -> None:
    _, delivery = await in_hand(store)
    await store.outbox.settle(settled(delivery, Later(due=LATER, attempt=1)))
    await held(store)
    assert await store.endpoints.take_callbacks(10, now=LATER - 1) == CallbackClaim(next_due=LATER)
    assert await found(store, now=LATER) == [OWN]


async def test_the_next_of_a_lane_is_found_once_it_is_ready(store: Store) -> None:
    watch, delivery = await in_hand(store)
    await move(store, watch, "processing", to=LEFT)
    await store.outbox.settle(settled(delivery, take=False))
    await held(store)
    assert await found(store) == [OWN]
    [following] = await claim(store, OWN.name)
    assert following.id > delivery.id


async def test_what_was_settled_is_not_found(store: Store) -> None:
    _, delivery = await in_hand(store)
    await held(store)
    await store.outbox.settle(settled(delivery))
    assert await found(store, now=LATER) == []


async def test_what_is_put_back_after_it_was_let_go_of_is_found(store: Store) -> None:
    _, delivery = await in_hand(store)
    await held(store)
    await store.outbox.settle(settled(delivery, Later(due=T0, attempt=0), tried=False))
    assert await found(store) == [OWN]


async def test_who_is_held_back_is_found_when_that_is_over(store: Store) -> None:
    """New deliveries do not end the pause earlier. The claim returns its health."""
    watch, delivery = await in_hand(store)
    await store.outbox.settle(settled(delivery))
    await held(store, held_until=LATER, rounds=3)
    await move(store, watch, "processing", at=T0 + SECOND, to=LEFT)
    assert await store.endpoints.take_callbacks(10, now=LATER - 1) == CallbackClaim(next_due=LATER)
    [(callback, health)] = (await store.endpoints.take_callbacks(10, now=LATER)).taken
    assert (callback, health) == (OWN, CallbackHealth(held_until=LATER, rounds=3))


async def test_what_is_due_when_it_is_let_go_of_goes_to_the_end_of_the_line(store: Store) -> None:
    [one] = await told(store, "1")
    await move(store, one, "queueing", to=LEFT)
    assert await found(store) == [OWN]
    await store.endpoints.leave_callbacks({OWN.name: CallbackHealth()}, now=T0 + 5)
    assert await store.endpoints.take_callbacks(10, now=T0 + 4) == CallbackClaim(next_due=T0 + 5)


async def test_dead_deliveries_that_are_retried_are_found(store: Store) -> None:
    """By the name of one destination, or of all."""
    _, delivery = await in_hand(store)
    await store.outbox.settle(settled(delivery, Dead(attempt=1, reason="http_410")))
    await held(store)
    for name in (OWN.name, "callback"):
        assert len(await store.lists.deliveries(DeliveryFilter(endpoint=name, status="dead"), limit=10)) == 1
    assert await store.outbox.retry(DeliveryFilter(endpoint="app"), now=LATER) == 0
    assert await store.outbox.retry(DeliveryFilter(endpoint="callback"), now=LATER) == 1
    assert await found(store, now=LATER) == [OWN]


async def test_a_start_finds_what_the_run_before_had_in_hand(store_url: str) -> None:
    """Its deliveries, and that it had it: both are free."""
    async with running(store_url) as store:
        await in_hand(store)
    async with running(store_url) as store:
        assert await found(store) == [OWN]
        assert len(await claim(store, OWN.name)) == 1


async def test_destinations_count_as_one(store: Store) -> None:
    for task, callback in (("1", OWN), ("2", OTHER)):
        [watch] = await told(store, task, callback=callback)
        await move(store, watch, "queueing", to=(Address(endpoint=callback.name, take=False), Address(endpoint="app")))
    pending = (await store.lists.summary())["pending"]
    assert {name: told["count"] for name, told in pending.items()} == {"callback": 2, "app": 2}


@pytest.mark.parametrize("needed", ["watch", "open", "dead", "in hand", "no"])
async def test_what_nobody_needs_is_forgotten(store: Store, needed: str) -> None:
    """Needed is what a watch names, what a delivery may still go to, and what a queue in memory is for."""
    _, delivery = await in_hand(store)
    if needed != "open":
        verdict = Dead(attempt=1, reason="x") if needed == "dead" else None
        await store.outbox.settle(settled(delivery, verdict, at=LATER if needed == "dead" else T0))
    if needed != "in hand":
        await held(store)
    if needed != "watch":
        await store.watches.remove("vidu", "1", now=T0)
        await store.watches.apply([wanted(callback=OTHER)], origin="api", now=T0)
    await store.prune(LATER)
    await store.outbox.commit(None, [record(for_operators(LATER), LEFT)])  # nobody is woken who is not there
    assert await found(store, now=LATER) == ([] if needed == "no" else [OWN])
