"""The promises of `Store.outbox`, on both databases."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from typing import Any

import pytest
from store_rig import APP, SECOND, T0, claim, follow, for_operators, move, record, relist, settled, shown

from notifier.core.errors import StaleWrite
from notifier.core.model import Address, Delivery, Watch
from notifier.core.payload import timestamp
from notifier.core.retry import Attempt, Failed
from notifier.store import Dead, DeliveryClaim, DeliveryFilter, Done, Later, Store, Superseded, Verdict, delivery_lists
from notifier.store.outbox import MAX_REVIVED

LATER = T0 + 60 * SECOND
STORED = (Address(endpoint="app", take=False),)  # left to be claimed
LATEST = (Address(endpoint="app", latest=True),)
LATEST_STORED = (Address(endpoint="app", latest=True, take=False),)
RETRY = Later(due=LATER, attempt=1, reason="timeout")
ENDINGS = [Done(), Dead(attempt=3, reason="http_500"), Superseded()]


async def one(store: Store, task_id: str = "1") -> Watch:
    """Follow one new task."""
    *_, watch = await follow(store, task_id)
    return watch


async def statuses(store: Store, **which: Any) -> list[str]:
    """List what became of each delivery, oldest first."""
    items = await store.lists.deliveries(DeliveryFilter(**which), limit=1000)
    return [item["status"] for item in reversed(items)]


async def dead(store: Store, watch: Watch, state: str, *, at: int = T0) -> tuple[Watch, Delivery]:
    """Commit a change of state and give its delivery up."""
    watch, (delivery,) = await move(store, watch, state, at=at)
    await store.outbox.settle(settled(delivery, Dead(attempt=10, reason="http_500"), at=at))
    return watch, delivery


# -- order


async def test_only_the_first_open_delivery_of_a_watch_and_endpoint_is_ready(store: Store) -> None:
    """Those behind it are not returned and cannot be claimed, although they are due."""
    watch = await one(store)
    watch, (first,) = await move(store, watch, "queueing")
    watch, behind = await move(store, watch, "processing")
    assert behind == []
    assert await claim(store, now=LATER) == []
    assert await statuses(store) == ["ready", "waiting"]
    assert (await store.outbox.claim({"app": 10}, now=LATER)).next_due == {}
    assert first.lane == watch.pk


async def test_watches_and_endpoints_do_not_wait_for_each_other(store: Store) -> None:
    """Order is kept for each watch and endpoint, and for nothing else."""
    one_, two = await follow(store, "1", "2")
    both = [Address(endpoint="app"), Address(endpoint="ops")]
    _, first = await move(store, one_, "queueing", to=both)
    _, second = await move(store, two, "queueing", to=both)
    assert [(d.endpoint, d.lane) for d in (*first, *second)] == [
        ("app", one_.pk),
        ("ops", one_.pk),
        ("app", two.pk),
        ("ops", two.pk),
    ]


@pytest.mark.parametrize("verdict", ENDINGS)
async def test_the_next_is_released_by_the_end_of_the_one_before(store: Store, verdict: Verdict) -> None:
    """Accepted, given up or superseded: then the next goes, whole and at once."""
    watch = await one(store)
    watch, (first,) = await move(store, watch, "queueing", at=T0)
    watch, _ = await move(store, watch, "processing", at=T0 + 1)
    watch, _ = await move(store, watch, "success", at=T0 + 2)
    second = await store.outbox.settle(settled(first, verdict, at=T0 + 3))
    assert second is not None
    assert json.loads(second.body)["data"]["sequence"] == 2
    assert (second.observed_at, second.lane, second.attempt) == (T0 + 1, watch.pk, 0)
    assert await claim(store, now=LATER) == []
    third = await store.outbox.settle(settled(second))
    assert third is not None
    assert json.loads(third.body)["data"]["state"] == "success"
    assert await store.outbox.settle(settled(third)) is None


async def test_a_delivery_that_is_tried_again_keeps_its_place(store: Store) -> None:
    """Completion never overtakes an earlier state, retries included."""
    watch = await one(store)
    watch, (first,) = await move(store, watch, "queueing")
    await move(store, watch, "success")
    assert await store.outbox.settle(settled(first, Later(due=T0 + 100, attempt=1, reason="timeout"))) is None
    assert await claim(store, now=T0 + 99) == []
    (again,) = await claim(store, now=T0 + 100)
    assert (again.id, again.event_id, again.body, again.attempt) == (first.id, first.event_id, first.body, 1)
    assert await statuses(store) == ["ready", "waiting"]


async def test_what_is_released_may_be_left_for_a_claim(store: Store) -> None:
    """`take=False`: ready, but nobody's."""
    watch = await one(store)
    watch, (first,) = await move(store, watch, "queueing")
    await move(store, watch, "processing")
    assert await store.outbox.settle(settled(first, at=LATER, take=False)) is None
    assert await claim(store, now=LATER - 1) == []
    (second,) = await claim(store, now=LATER)
    assert json.loads(second.body)["data"]["sequence"] == 2


async def test_a_new_delivery_may_be_left_for_a_claim(store: Store) -> None:
    """`take=False` on its address: it is not returned, and due at once."""
    watch = await one(store)
    _, deliveries = await move(store, watch, "queueing", to=(*STORED, Address(endpoint="ops")))
    assert [delivery.endpoint for delivery in deliveries] == ["ops"]
    assert await claim(store, "app", "ops", now=T0 - 1) == []
    assert [delivery.endpoint for delivery in await claim(store, "app", "ops", now=T0)] == ["app"]


async def test_many_settled_at_once_release_each_its_own(store: Store) -> None:
    """Settlements that are saved together do not mix their lanes or what each asks for."""
    watches = await follow(store, *map(str, range(60)))
    firsts = []
    for watch in watches:
        watch, (first,) = await move(store, watch, "queueing")
        await move(store, watch, "processing")
        firsts.append(first)
    verdicts: list[Verdict] = [Done(), Later(due=LATER, attempt=1), Dead(attempt=1, reason="x")]
    released = await asyncio.gather(
        *(store.outbox.settle(settled(first, verdicts[n % 3], take=n % 2 == 0)) for n, first in enumerate(firsts))
    )
    for n, (first, next_) in enumerate(zip(firsts, released, strict=True)):
        if n % 2 or n % 3 == 1:
            assert next_ is None
        else:
            assert next_ is not None
            assert next_.lane == first.lane
    left = await claim(store, now=T0, room=1000)
    assert {delivery.lane for delivery in left} == {firsts[n].lane for n in range(60) if n % 2 and n % 3 != 1}


@pytest.mark.parametrize("seed", range(2))
async def test_order_holds_whatever_happens(store: Store, seed: int) -> None:
    """Random steps, claims, verdicts and releases: each endpoint accepts every event of a watch, in sequence."""
    chance = random.Random(seed)
    endpoints = ("app", "ops")
    watches = {watch.pk: watch for watch in await follow(store, *map(str, range(5)))}
    ours: dict[int, Delivery] = {}
    accepted: dict[tuple[int | None, str], list[int]] = defaultdict(list)
    now = T0

    async def progress() -> None:
        watch = chance.choice(list(watches.values()))
        to = [Address(endpoint=name, take=chance.random() < 0.5) for name in endpoints]
        watches[watch.pk], taken = await move(store, watch, f"state {watch.sequence}", at=now, to=to)
        ours.update({delivery.id: delivery for delivery in taken})

    async def conclude(verdict: Verdict) -> None:
        delivery = ours.pop(chance.choice(sorted(ours)))
        if isinstance(verdict, Done):
            accepted[delivery.lane, delivery.endpoint].append(json.loads(delivery.body)["data"]["sequence"])
        released = await store.outbox.settle(settled(delivery, verdict, at=now, take=chance.random() < 0.5))
        if released is not None:
            ours[released.id] = released

    for _ in range(200):
        now += chance.randrange(1000)
        match chance.randrange(4):
            case 0:
                await progress()
            case 1:
                ours.update({d.id: d for d in await claim(store, *endpoints, now=now, room=chance.randrange(3))})
            case 2 if ours:
                await conclude(Done())
            case 3 if ours:
                await conclude(Later(due=now + chance.randrange(2000), attempt=1))
    while ours or await statuses(store, status="pending"):
        now += 2000
        ours.update({d.id: d for d in await claim(store, *endpoints, now=now)})
        await conclude(Done())
    for watch in watches.values():
        for name in endpoints:
            assert accepted[watch.pk, name] == list(range(1, watch.sequence + 1))


# -- `ordering: latest`


async def test_a_newer_state_supersedes_what_is_nobodys(store: Store) -> None:
    """With `latest`, an undelivered state gives way; its place is free at once."""
    watch = await one(store)
    watch, _ = await move(store, watch, "queueing", to=LATEST_STORED)
    watch, _ = await move(store, watch, "processing", to=LATEST_STORED)
    watch, (last,) = await move(store, watch, "success", to=LATEST)
    assert await statuses(store) == ["superseded", "superseded", "ready"]
    assert json.loads(last.body)["data"]["state"] == "success"


async def test_a_newer_state_does_not_supersede_what_is_being_sent(store: Store) -> None:
    """It may be delivered this moment: the new one waits for it, those between give way."""
    watch = await one(store)
    watch, (first,) = await move(store, watch, "queueing", to=LATEST)
    watch, _ = await move(store, watch, "processing", to=LATEST)
    watch, taken = await move(store, watch, "success", to=LATEST)
    assert taken == []
    assert await statuses(store) == ["ready", "superseded", "waiting"]
    last = await store.outbox.settle(settled(first))
    assert last is not None
    assert json.loads(last.body)["data"]["state"] == "success"


@pytest.mark.parametrize("take", [True, False])
async def test_what_failed_gives_way_to_what_came_meanwhile(store: Store, take: bool) -> None:
    """The newest state is sent at once instead of a retry of the old one, whichever node observed it."""
    watch = await one(store)
    watch, (first,) = await move(store, watch, "queueing", to=LATEST)
    watch, _ = await move(store, watch, "processing", to=LATEST)
    await move(store, watch, "success", to=LATEST)
    next_ = await store.outbox.settle(settled(first, RETRY, at=T0 + 5, take=take, latest=True))
    if not take:
        assert next_ is None
        assert await claim(store, now=T0 + 4) == []
        [next_] = await claim(store, now=T0 + 5)
    assert next_ is not None
    assert json.loads(next_.body)["data"]["state"] == "success"
    assert await statuses(store) == ["superseded", "superseded", "ready"]
    item = await shown(store, first.id)
    assert (item["reason"], len(item["attempts"])) == ("superseded", 1)
    assert item["settled_at"] is not None
    assert await claim(store, now=LATER) == []
    assert await store.outbox.settle(settled(next_)) is None


async def test_what_failed_and_is_the_newest_is_tried_again(store: Store) -> None:
    """It keeps its time and its reason; other watches and endpoints do not matter to it."""
    first, second = await follow(store, "1", "2")
    first, (mine, _) = await move(store, first, "queueing", to=(*LATEST, Address(endpoint="ops", latest=True)))
    second, _ = await move(store, second, "queueing", to=LATEST)
    await move(store, second, "processing", to=LATEST)
    await move(store, first, "success", to=[Address(endpoint="ops", latest=True)])
    assert await store.outbox.settle(settled(mine, RETRY, latest=True)) is None
    assert await claim(store, now=LATER - 1) == []
    [again] = await claim(store, now=LATER)
    assert (again.id, again.attempt) == (mine.id, 1)


async def test_what_was_revived_and_is_stale_gives_way_to_what_failed(store: Store) -> None:
    """A watch and endpoint have one ready delivery at most, also where the delivery to be retried is the newest."""
    watch = await one(store)
    watch, old = await dead(store, watch, "queueing")
    watch, (newest,) = await move(store, watch, "success", to=LATEST)
    assert await store.outbox.retry(DeliveryFilter(id=old.id), now=T0) == 1
    assert await store.outbox.settle(settled(newest, RETRY, latest=True)) is None
    assert await statuses(store) == ["superseded", "ready"]
    assert [found.id for found in await claim(store, now=LATER)] == [newest.id]


async def test_each_of_many_that_failed_together_gives_way_to_its_own(store: Store) -> None:
    """Those of the same transaction do not mix, whatever each asks for."""
    firsts: list[Delivery] = []
    for n, watch in enumerate(await follow(store, *map(str, range(30)))):
        watch, (first,) = await move(store, watch, "queueing", to=LATEST)
        firsts.append(first)
        if n % 2:
            await move(store, watch, "success", to=LATEST)
    released = await asyncio.gather(
        *(store.outbox.settle(settled(first, RETRY, latest=n % 3 > 0)) for n, first in enumerate(firsts))
    )
    for n, (first, next_) in enumerate(zip(firsts, released, strict=True)):
        assert (next_ is not None) == (n % 2 == 1 and n % 3 > 0)
        assert next_ is None or next_.lane == first.lane
    assert sorted(await statuses(store)) == ["ready"] * 30 + ["superseded"] * 10 + ["waiting"] * 5


async def test_only_the_same_watch_and_endpoint_give_way(store: Store) -> None:
    """Other watches' states, and other endpoints' deliveries of this one, are as they were."""
    first, second = await follow(store, "1", "2")
    both = (*LATEST_STORED, Address(endpoint="strict", take=False))
    first, _ = await move(store, first, "queueing", to=both)
    second, _ = await move(store, second, "queueing", to=both)
    await move(store, first, "processing", to=both)
    assert await statuses(store, endpoint="app") == ["superseded", "ready", "ready"]
    assert await statuses(store, endpoint="strict") == ["ready", "ready", "waiting"]


async def test_operators_events_supersede_nothing(store: Store) -> None:
    """They are about different things."""
    to = [Address(endpoint="ops", latest=True, take=False)]
    await store.outbox.commit(None, [record(for_operators(T0), to)])
    await store.outbox.commit(None, [record(for_operators(T0 + 1), to)])
    assert await statuses(store) == ["ready", "ready"]


# -- claiming


async def test_what_is_due_is_claimed_oldest_first_as_far_as_there_is_room(store: Store) -> None:
    """For each endpoint by itself; the rest and its time stay known."""
    watches = await follow(store, *map(str, range(5)))
    for n, watch in enumerate(watches):
        await move(store, watch, "queueing", at=T0 + 10 * (5 - n), to=STORED)
    first = await store.outbox.claim({"app": 2, "ops": 5}, now=T0 + 30)
    assert [delivery.observed_at - T0 for delivery in first.deliveries] == [10, 20]
    assert first.next_due == {"app": T0 + 30}
    second = await store.outbox.claim({"app": 5}, now=T0 + 30)
    assert [delivery.observed_at - T0 for delivery in second.deliveries] == [30]
    assert second.next_due == {"app": T0 + 40}


async def test_what_is_claimed_is_not_claimed_again(store: Store) -> None:
    """However many ask at once, each delivery goes to one of them."""
    watches = await follow(store, *map(str, range(50)))
    await asyncio.gather(*(move(store, watch, "queueing", to=STORED) for watch in watches))
    claims = await asyncio.gather(*(claim(store, room=7) for _ in range(10)))
    ids = [delivery.id for share in claims for delivery in share]
    assert len(ids) == len(set(ids)) == 50


async def test_only_endpoints_that_are_named_are_claimed_for(store: Store) -> None:
    """Deliveries to an endpoint that the configuration no longer names are kept."""
    watch = await one(store)
    await move(store, watch, "queueing", to=STORED)
    assert await store.outbox.claim({}, now=LATER) == DeliveryClaim()
    assert await store.outbox.claim({"ops": 10}, now=LATER) == DeliveryClaim()
    assert await store.outbox.claim({"app": 0}, now=LATER) == DeliveryClaim(next_due={"app": T0})
    assert len(await claim(store)) == 1


async def test_a_claim_of_any_size_is_answered(store: Store) -> None:
    """More room than a statement takes parameters: some come now, and the rest is known to be due."""
    watch_count = 1100
    watches = await follow(store, *map(str, range(watch_count)))
    await asyncio.gather(*(move(store, watch, "queueing", to=STORED) for watch in watches))
    got: list[Delivery] = []
    while True:
        found = await store.outbox.claim({"app": 1_000_000_000}, now=T0)
        got += found.deliveries
        if not found.next_due:
            break
        assert found.deliveries
        assert found.next_due == {"app": T0}
    assert len({delivery.id for delivery in got}) == watch_count


# -- settling


async def test_a_delivery_is_settled_once(store: Store) -> None:
    """A second word on it is refused: it is no longer ours."""
    watch = await one(store)
    _, (delivery,) = await move(store, watch, "queueing")
    await store.outbox.settle(settled(delivery))
    with pytest.raises(StaleWrite):
        await store.outbox.settle(settled(delivery, Later(due=T0, attempt=1)))
    assert await statuses(store) == ["delivered"]


async def test_what_is_not_ours_cannot_be_settled(store: Store) -> None:
    """Deliveries that were never claimed, and those that wait, are refused."""
    watch = await one(store)
    watch, (first,) = await move(store, watch, "queueing")
    await store.outbox.settle(settled(first, Later(due=LATER, attempt=1)))
    with pytest.raises(StaleWrite):
        await store.outbox.settle(settled(first))
    assert await statuses(store) == ["ready"]


async def test_one_refused_settlement_spoils_no_other(store: Store) -> None:
    """Those that are saved together succeed or fail each for itself, with their attempts."""
    watches = await follow(store, *map(str, range(20)))
    firsts = [(await move(store, watch, "queueing"))[1][0] for watch in watches]
    await store.outbox.settle(settled(firsts[3]))
    results = await asyncio.gather(
        *(store.outbox.settle(settled(first, at=LATER)) for first in firsts), return_exceptions=True
    )
    assert [n for n, result in enumerate(results) if isinstance(result, StaleWrite)] == [3]
    assert await statuses(store) == ["delivered"] * 20
    item = await shown(store, firsts[3].id)
    assert len(item["attempts"]) == 1


async def test_a_delivery_may_be_put_back_untried(store: Store) -> None:
    """At the end of a daemon, or for an endpoint that is gone: no attempt is noted or counted."""
    watch = await one(store)
    _, (delivery,) = await move(store, watch, "queueing")
    await store.outbox.settle(settled(delivery, Later(due=T0, attempt=0), tried=False))
    assert await claim(store) == [delivery]
    item = await shown(store, delivery.id)
    assert (item["attempt"], item["attempts"]) == (0, [])


async def test_attempts_are_counted_as_the_verdict_says(store: Store) -> None:
    """An attempt that does not count leaves the number as it is."""
    watch = await one(store)
    _, (delivery,) = await move(store, watch, "queueing")
    await store.outbox.settle(settled(delivery, Later(due=T0, attempt=0, reason="http_429"), at=T0 + 1))
    (delivery,) = await claim(store)
    assert delivery.attempt == 0
    await store.outbox.settle(settled(delivery, Later(due=T0, attempt=1, reason="timeout"), at=T0 + 2))
    (delivery,) = await claim(store)
    assert delivery.attempt == 1
    await store.outbox.settle(settled(delivery, at=T0 + 3))
    item = await shown(store, delivery.id)
    assert (item["attempt"], item["reason"], len(item["attempts"])) == (2, None, 3)


# -- dead ones


async def test_a_dead_delivery_is_kept_and_can_be_retried(store: Store) -> None:
    """Under the same id and with the same bytes; its schedule starts afresh, and it is marked as retried by hand."""
    watch = await one(store)
    watch, delivery = await dead(store, watch, "queueing")
    assert await claim(store, now=LATER) == []
    assert await store.outbox.retry(DeliveryFilter(id=delivery.id), now=LATER) == 1
    assert await claim(store, now=LATER - 1) == []
    (again,) = await claim(store, now=LATER)
    assert again == delivery
    item = await shown(store, delivery.id)
    assert (item["manual"], item["status"], item["settled_at"]) == (True, "ready", None)


async def test_only_dead_deliveries_are_retried(store: Store) -> None:
    """Open, delivered and superseded ones stay as they are; an unknown id changes nothing."""
    first, second, third = await follow(store, "1", "2", "3")
    _, (accepted,) = await move(store, first, "queueing")
    await store.outbox.settle(settled(accepted))
    _, (open_,) = await move(store, second, "queueing")
    _, (stale,) = await move(store, third, "queueing")
    await store.outbox.settle(settled(stale, Superseded()))
    for number in (accepted.id, open_.id, stale.id, 123_456):
        assert await store.outbox.retry(DeliveryFilter(id=number), now=LATER) == 0
    assert await store.outbox.retry(DeliveryFilter(), now=LATER) == 0
    assert await statuses(store) == ["delivered", "ready", "superseded"]


@pytest.mark.parametrize(
    ("which", "count"),
    [
        (DeliveryFilter(), 6),
        (DeliveryFilter(endpoint="app"), 6),
        (DeliveryFilter(endpoint="ops"), 0),
        (DeliveryFilter(status="dead"), 6),
        (DeliveryFilter(status="delivered"), 0),
        (DeliveryFilter(since=T0 + 2), 4),
        (DeliveryFilter(until=T0 + 2), 2),
        (DeliveryFilter(since=T0 + 1, until=T0 + 4), 3),
    ],
)
async def test_dead_deliveries_are_retried_by_range(store: Store, which: DeliveryFilter, count: int) -> None:
    """`since` counts in, `until` does not."""
    for n, watch in enumerate(await follow(store, *map(str, range(6)))):
        await dead(store, watch, "queueing", at=T0 + n)
    assert await store.outbox.retry(which, now=LATER) == count
    assert len(await claim(store, now=LATER)) == count


async def test_dead_deliveries_of_one_watch_are_retried_in_order(store: Store) -> None:
    """The first goes, the others wait for it."""
    watch = await one(store)
    for n, state in enumerate(("queueing", "processing", "queueing", "success")):
        watch, _ = await dead(store, watch, state, at=T0 + n)
    assert await store.outbox.retry(DeliveryFilter(), now=LATER) == 4
    sequences = []
    (delivery,) = await claim(store, now=LATER)
    next_: Delivery | None = delivery
    while next_ is not None:
        sequences.append(json.loads(next_.body)["data"]["sequence"])
        next_ = await store.outbox.settle(settled(next_, at=LATER))
    assert sequences == [1, 2, 3, 4]


async def test_very_many_are_retried_without_holding_others_up(store: Store) -> None:
    """In several transactions: others commit in between, and order holds all the same."""
    *watches, other = await follow(store, *map(str, range(MAX_REVIVED + 11)))

    async def die(watch: Watch) -> None:
        after, _ = await dead(store, watch, "queueing")
        await dead(store, after, "success")

    await asyncio.gather(*map(die, watches))
    retrying = asyncio.create_task(store.outbox.retry(DeliveryFilter(), now=LATER))
    ended_before = 0
    while not retrying.done():
        other, _ = await move(store, other, "processing" if other.state == "queueing" else "queueing")
        ended_before += not retrying.done()
    assert await retrying == 2 * len(watches)
    assert ended_before
    found = await claim(store, now=LATER, room=1000)
    of_dead = [json.loads(delivery.body)["data"] for delivery in found if delivery.lane != other.pk]
    assert len(of_dead) == len(watches)
    assert {data["sequence"] for data in of_dead} == {1}


async def test_a_retried_delivery_goes_behind_what_is_open(store: Store) -> None:
    """It does not overtake the delivery that is being sent. After that one it goes first, because it is older."""
    watch = await one(store)
    watch, first = await dead(store, watch, "queueing")
    watch, (second,) = await move(store, watch, "processing")
    watch, _ = await move(store, watch, "success")
    assert await store.outbox.retry(DeliveryFilter(id=first.id), now=LATER) == 1
    assert await claim(store, now=LATER) == []
    assert await statuses(store) == ["waiting", "ready", "waiting"]
    again = await store.outbox.settle(settled(second, at=LATER))
    assert again is not None
    assert again.id == first.id
    third = await store.outbox.settle(settled(again, at=LATER))
    assert third is not None
    assert json.loads(third.body)["data"]["sequence"] == 3


async def test_a_dead_operators_event_is_retried(store: Store) -> None:
    """It has no order to keep: it is ready at once, others beside it."""
    for n in range(2):
        (delivery,) = await store.outbox.commit(None, [record(for_operators(T0 + n), [Address(endpoint="ops")])])
        await store.outbox.settle(settled(delivery, Dead(attempt=1, reason="x")))
    assert await store.outbox.retry(DeliveryFilter(endpoint="ops"), now=LATER) == 2
    assert len(await claim(store, "ops", now=LATER)) == 2


# -- looking


async def test_the_summary_counts_what_there_is(store: Store) -> None:
    """Watches by source and phase; open and dead deliveries by endpoint, with the oldest open one."""
    assert await store.lists.summary() == {"watches": {}, "pending": {}, "dead": {}, "lost": {}}
    one_, two, three, _ = await follow(store, "1", "2", "3", "4")
    await dead(store, one_, "success")
    await move(store, two, "processing", at=T0 + 7)
    three, (first,) = await move(store, three, "processing", at=T0 + 5)
    three, _ = await move(store, three, "queueing", at=T0 + 9)
    assert await store.lists.summary() == {
        "watches": {"vidu": {"succeeded": 1, "running": 1, "queued": 1, "new": 1}},
        "pending": {"app": {"count": 3, "oldest": T0 + 5}},
        "dead": {"app": 1},
        "lost": {},
    }
    await store.outbox.settle(settled(first))
    assert (await store.lists.summary())["pending"] == {"app": {"count": 2, "oldest": T0 + 7}}


async def test_deliveries_are_listed_newest_first_page_by_page(store: Store) -> None:
    """`before` goes on after a page; no page repeats or leaves out what was there at the first."""
    for n, watch in enumerate(await follow(store, *map(str, range(7)))):
        await move(store, watch, "queueing", at=T0 + n)
    pages: list[list[str | None]] = []
    before: int | None = None
    while True:
        page = await store.lists.deliveries(DeliveryFilter(), limit=3, before=before)
        if not page:
            break
        pages.append([item["task"] for item in page])
        before = page[-1]["id"]
    assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"]]


@pytest.mark.parametrize("recent", [1, 3, delivery_lists.RECENT])
@pytest.mark.parametrize(("status", "found"), [("dead", "9630"), ("pending", "852"), ("ready", "852"), ("waiting", "")])
async def test_what_is_rare_is_listed_in_the_same_order(
    store: Store, monkeypatch: pytest.MonkeyPatch, recent: int, status: str, found: str
) -> None:
    """Whether the newest rows fill a page or the rest of it is elsewhere: newest first, each once."""
    monkeypatch.setattr(delivery_lists, "RECENT", recent)
    for n, watch in enumerate(await follow(store, *"0123456789")):
        _, (delivery,) = await move(store, watch, "queueing", at=T0 + n)
        if n % 3 < 2:
            await store.outbox.settle(settled(delivery, Done() if n % 3 else Dead(attempt=1, reason="x")))
    listed: list[str] = []
    before: int | None = None
    while page := await store.lists.deliveries(DeliveryFilter(status=status, endpoint="app"), limit=2, before=before):
        listed += [str(item["task"]) for item in page]
        before = page[-1]["id"]
    assert "".join(listed) == found
    assert await store.lists.deliveries(DeliveryFilter(status=status, until=T0), limit=2) == []


@pytest.mark.parametrize(
    ("which", "tasks"),
    [
        (DeliveryFilter(), "3210"),
        (DeliveryFilter(endpoint="ops"), ""),
        (DeliveryFilter(status="dead"), "1"),
        (DeliveryFilter(status="delivered"), "0"),
        (DeliveryFilter(status="pending"), "32"),
        (DeliveryFilter(status="ready"), "32"),
        (DeliveryFilter(status="waiting"), ""),
        (DeliveryFilter(since=T0 + 1, until=T0 + 3), "21"),
        (DeliveryFilter(watch=("vidu", "2")), "2"),
        (DeliveryFilter(watch=("vidu", "1"), status="dead"), "1"),
        (DeliveryFilter(watch=("vidu", "1"), status="pending"), ""),
        (DeliveryFilter(watch=("vidu", "3"), endpoint="ops"), ""),
        (DeliveryFilter(watch=("other", "1")), ""),
        (DeliveryFilter(watch=("vidu", "nobody")), ""),
        (DeliveryFilter(task="2"), "2"),
        (DeliveryFilter(task="1", status="dead"), "1"),
        (DeliveryFilter(task="1", status="pending"), ""),
        (DeliveryFilter(task="nobody"), ""),
        (DeliveryFilter(since=T0 + 1, status="pending", endpoint="app"), "32"),
    ],
)
async def test_deliveries_are_listed_by_what_they_are(store: Store, which: DeliveryFilter, tasks: str) -> None:
    """Conditions add up; `pending` is all that is open."""
    watches = await follow(store, *"0123")
    deliveries = [(await move(store, watch, "queueing", at=T0 + n))[1][0] for n, watch in enumerate(watches)]
    await store.outbox.settle(settled(deliveries[0]))
    await store.outbox.settle(settled(deliveries[1], Dead(attempt=2, reason="http_500")))
    assert "".join(str(item["task"]) for item in await store.lists.deliveries(which, limit=10)) == tasks


async def test_one_delivery_is_shown_with_its_attempts_and_what_was_sent(store: Store) -> None:
    """All that is known of it, for an operator who looks for a fault."""
    watch = await one(store)
    _, (delivery,) = await move(store, watch, "queueing")
    failed = Attempt(
        at=T0 + 5,
        outcome=Failed(reason="http_500", detail="the endpoint answered 500"),
        status=500,
        seconds=0.25,
        phases={"dns": 0.01, "connect": 0.02},
        address="127.0.0.1:80",
        reply="out of cheese",
    )
    again = settled(delivery, Later(due=LATER, attempt=1, reason="http_500"), at=T0 + 6, tried=False)
    await store.outbox.settle(type(again)(delivery=delivery, verdict=again.verdict, at=again.at, attempt=failed))
    (delivery,) = await claim(store, now=LATER)
    await store.outbox.settle(settled(delivery, at=LATER))
    item = await shown(store, delivery.id)
    attempts = item["attempts"]
    assert item == {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "type": "task.state_changed",
        "endpoint": "app",
        "callback": None,
        "source": "vidu",
        "task": "1",
        "sequence": 1,
        "status": "delivered",
        "attempt": 2,
        "reason": None,
        "manual": False,
        "created_at": timestamp(T0),
        "due": None,
        "settled_at": timestamp(LATER),
        "payload": json.loads(delivery.body),
        "attempts": attempts,
    }
    assert attempts[0] == {
        "at": timestamp(T0 + 5),
        "outcome": "failed",
        "reason": "http_500",
        "detail": "the endpoint answered 500",
        "status": 500,
        "seconds": 0.25,
        "phases": {"dns": 0.01, "connect": 0.02},
        "address": "127.0.0.1:80",
        "reply": "out of cheese",
        "retry_after": None,
    }
    assert (attempts[1]["outcome"], attempts[1]["reason"], attempts[1]["status"]) == ("delivered", None, 200)
    assert await store.lists.delivery(delivery.id + 1) is None
    assert await store.lists.deliveries(DeliveryFilter(id=delivery.id + 1), limit=5) == []


async def test_an_operators_delivery_is_listed_without_a_task(store: Store) -> None:
    """There is none; when it is due is said while it is open."""
    await store.outbox.commit(None, [record(for_operators(), [Address(endpoint="ops")])])
    (item,) = await store.lists.deliveries(DeliveryFilter(), limit=5)
    assert (item["source"], item["task"], item["sequence"], item["due"]) == (
        None,
        None,
        0,
        timestamp(T0),
    )
    assert "payload" not in item


# -- forgetting


async def test_what_ended_and_was_settled_long_ago_is_forgotten(store: Store) -> None:
    """Watch, events, deliveries and attempts; afterwards it is as if it had never been."""
    for n, watch in enumerate(await follow(store, "1", "2")):
        watch, (first,) = await move(store, watch, "queueing", at=T0 + n)
        watch, _ = await move(store, watch, "success", at=T0 + n)
        second = await store.outbox.settle(settled(first, at=T0 + n))
        assert second is not None
        await store.outbox.settle(settled(second, Dead(attempt=1, reason="x"), at=T0 + n))
    assert await store.prune(T0) == 0
    assert await store.prune(T0 + 1) == 3  # two events and a watch
    assert [item["task"] for item in await store.lists.deliveries(DeliveryFilter(), limit=10)] == ["2", "2"]
    assert (await store.lists.summary())["watches"] == {"vidu": {"succeeded": 1}}
    assert await store.prune(LATER) == 3
    assert await store.lists.summary() == {"watches": {}, "pending": {}, "dead": {}, "lost": {}}


@pytest.mark.parametrize("open_", ["ready", "waiting", "claimed"])
async def test_what_is_open_is_kept_however_old(store: Store, open_: str) -> None:
    """And with it its event and its watch: a promise does not expire."""
    watch = await one(store)
    watch, taken = await move(store, watch, "queueing", to=APP if open_ == "claimed" else STORED)
    if open_ == "waiting":
        watch, _ = await move(store, watch, "processing", to=STORED)
    await move(store, watch, "success", to=())
    await store.prune(LATER)
    assert len(await store.lists.deliveries(DeliveryFilter(), limit=5)) == (2 if open_ == "waiting" else 1)
    assert (await store.lists.summary())["watches"] == {"vidu": {"succeeded": 1}}
    if taken:
        await store.outbox.settle(settled(taken[0], at=LATER))


async def test_what_was_settled_lately_is_kept(store: Store) -> None:
    """The time of settling counts, not that of the event; one delivery keeps the whole event."""
    watch = await one(store)
    _, (app, ops) = await move(store, watch, "success", to=[*APP, Address(endpoint="ops")])
    await store.outbox.settle(settled(app, at=T0))
    await store.outbox.settle(settled(ops, at=LATER))
    assert await store.prune(LATER) == 0
    assert len(await store.lists.deliveries(DeliveryFilter(), limit=5)) == 2
    assert await store.prune(LATER + 1) == 2


async def test_a_watch_under_way_is_kept_and_its_old_events_are_not(store: Store) -> None:
    """A task may take longer than the log of it is kept; it goes on at its sequence."""
    watch = await one(store)
    watch, (delivery,) = await move(store, watch, "queueing")
    await store.outbox.settle(settled(delivery))
    assert await store.prune(LATER) == 1
    watch, _ = await move(store, watch, "processing")
    assert watch.sequence == 2


async def test_a_watch_that_a_file_lists_is_kept(store: Store) -> None:
    """The next reload would follow it again. Once no file lists it, it is pruned in its time."""
    (watch,) = await follow(store, "1", origin="file")
    _, (delivery,) = await move(store, watch, "success")
    await store.outbox.settle(settled(delivery))
    assert await store.prune(LATER) == 1  # the event
    assert (await store.lists.summary())["watches"] == {"vidu": {"succeeded": 1}}
    await relist(store, now=LATER)
    assert await store.prune(LATER) == 0
    assert await store.prune(LATER + 1) == 1


async def test_a_removed_watch_is_forgotten_in_its_time(store: Store) -> None:
    """Afterwards its sequence begins at 1 again."""
    watch = await one(store)
    watch, (delivery,) = await move(store, watch, "queueing")
    await store.outbox.settle(settled(delivery))
    await store.watches.remove("vidu", "1", now=T0 + 5)
    assert await store.prune(T0 + 5) == 1  # the event
    assert await store.prune(T0 + 6) == 1  # the watch
    assert (await one(store)).sequence == 0


async def test_more_is_forgotten_than_fits_one_transaction(store: Store) -> None:
    """However much there is, and however much of it has to be kept, interleaved."""
    watches = await follow(store, *map(str, range(1300)))
    moved = await asyncio.gather(*(move(store, watch, "success") for watch in watches))
    deliveries = [delivery for _, (delivery,) in moved]
    await asyncio.gather(*(store.outbox.settle(settled(delivery)) for delivery in deliveries[::2]))
    assert await store.prune(LATER) == 1300
    assert await statuses(store) == ["ready"] * 650
    assert await store.prune(LATER) == 0
