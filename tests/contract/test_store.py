"""The promises of `Store.watches` and of commits, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from store_rig import (
    APP,
    SECOND,
    T0,
    claim,
    follow,
    for_operators,
    lose,
    move,
    observed,
    record,
    recorded,
    relist,
    running,
    settled,
    shown,
    wanted,
)

from notifier.core.errors import StaleWrite, StoreUnavailable
from notifier.core.model import Address, Delivery, NewWatch, Phase, Watch
from notifier.store import DeliveryFilter, EventFilter, Later, Store, WatchChanges, watches

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

LATER = T0 + 60 * SECOND


async def apply(store: Store, *watches: NewWatch, origin: str = "api") -> WatchChanges:
    return await store.watches.apply(watches, origin=origin, now=LATER)


# -- wanting


async def test_a_new_watch_has_seen_nothing(store: Store) -> None:
    """It is kept as it was asked for, with no state and no event, not ended."""
    asked = wanted(
        "1", labels={"team": "video"}, metadata={"order": [7, None]}, endpoints=("app",), variables={"kind": "a/b"}
    )
    applied = await store.watches.apply([asked], origin="api", now=T0)
    (pk,) = applied.keys
    watch = Watch(
        pk=pk,
        source="vidu",
        id="1",
        created_at=T0,
        changed_at=T0,
        labels={"team": "video"},
        metadata={"order": [7, None]},
        endpoints=("app",),
        variables={"kind": "a/b"},
    )
    assert await store.watches.claim(10) == [watch]
    assert applied == WatchChanges(added=(("vidu", "1"),))


async def test_the_same_watch_again_changes_nothing(store: Store) -> None:
    """Asking twice is as asking once, also with another description: only a file states the whole."""
    await store.watches.apply([wanted("1", labels={"a": "b"})], origin="api", now=T0)
    assert await apply(store, wanted("1", labels={"a": "b"})) == WatchChanges(unchanged=1)
    assert await apply(store, wanted("1", labels={"x": "y"}), origin="queue") == WatchChanges(unchanged=1)
    (watch,) = await store.watches.claim(10)
    assert (watch.labels, watch.created_at) == ({"a": "b"}, T0)


@pytest.mark.parametrize(
    "described",
    [
        {"labels": {"a": "c"}},
        {"metadata": 5},
        {"endpoints": ("app",)},
        {"endpoints": ()},
        {"variables": {"kind": "c"}},
        {"traceparent": TRACE},
    ],
)
async def test_a_file_changes_what_it_describes_anew(store: Store, described: dict[str, Any]) -> None:
    """Labels, metadata, endpoints and variables follow the file; what was seen stays."""
    (watch,) = await follow(store, "1", origin="file")
    watch, _ = await move(store, watch, "queueing")
    applied = await apply(store, wanted("1", **described), origin="file")
    assert applied == WatchChanges(changed=(replace(watch, **described),))
    await store.watches.release([watch])
    assert await store.watches.claim(10) == list(applied.changed)
    assert await apply(store, wanted("1", **described), origin="file") == WatchChanges(unchanged=1)


async def test_a_trace_goes_with_every_delivery(store: Store) -> None:
    """One that is sent at once, one that is claimed, and one that is released by another."""
    await store.watches.apply([wanted("1", traceparent=TRACE), wanted("2")], origin="api", now=T0)
    traced, plain = await store.watches.claim(10)
    assert (traced.traceparent, plain.traceparent) == (TRACE, None)
    traced, (fresh,) = await move(store, traced, "queueing")
    await move(store, traced, "processing")
    _, (other,) = await move(store, plain, "queueing")
    released = await store.outbox.settle(settled(fresh))
    assert released is not None
    await store.outbox.settle(settled(released, Later(due=T0, attempt=1)))
    (claimed,) = await claim(store)
    assert [each.traceparent for each in (fresh, released, claimed, other)] == [TRACE, TRACE, TRACE, None]


async def test_what_a_file_no_longer_lists_is_removed(store: Store) -> None:
    """An origin's own watches are those it names; others' stay."""
    await store.watches.apply([wanted("f1"), wanted("f2")], origin="file", now=T0)
    await store.watches.apply([wanted("a1")], origin="api", now=T0)
    applied, removed = await relist(store, wanted("f2"), wanted("f3"))
    assert [watch.id for watch in removed] == ["f1"]
    assert applied.added == (("vidu", "f3"),)
    assert applied.unchanged == 1
    assert [watch.id for watch in await store.watches.claim(10)] == ["f2", "a1", "f3"]


async def test_adding_removes_nothing(store: Store) -> None:
    """Whatever the origin has listed before."""
    await store.watches.apply([wanted("1")], origin="file", now=T0)
    await apply(store, wanted("2"), origin="file")
    assert [watch.id for watch in await store.watches.claim(10)] == ["1", "2"]


async def test_others_are_removed_in_slices(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call looks at some, in the order of their keys, and says where the next one goes on."""
    monkeypatch.setattr(watches, "PIECE", 2)
    await store.watches.apply([wanted(str(number)) for number in range(7)], origin="file", now=T0)
    kept = {watch.pk for watch in await store.watches.claim(10) if watch.id in ("0", "3")}
    first, after = await store.watches.remove_others(kept, origin="file", now=LATER)
    assert [watch.id for watch in first] == ["1"]
    assert after is not None
    second, after = await store.watches.remove_others(kept, origin="file", now=LATER, after=after)
    assert [watch.id for watch in second] == ["2"]
    _, removed = await relist(store, wanted("0"), wanted("3"))
    assert [watch.id for watch in removed] == ["4", "5", "6"]


async def test_a_file_takes_over_what_it_lists(store: Store) -> None:
    """A watch that came by the API and is then listed goes when it is listed no more."""
    await store.watches.apply([wanted("1")], origin="api", now=T0)
    assert await relist(store, wanted("1")) == (WatchChanges(unchanged=1), [])
    assert [watch.id for watch in (await relist(store))[1]] == ["1"]


async def test_a_watch_that_is_added_again_begins_anew(store: Store) -> None:
    """Its sequence has no second 1: receivers order by it. It is described as it is asked for now."""
    (watch,) = await follow(store, "1")
    watch, _ = await move(store, watch, "queueing")
    assert await store.watches.remove("vidu", "1", now=LATER) == watch
    applied = await apply(store, wanted("1", labels={"new": "yes"}))
    again = replace(watch, state=None, phase=None, created_at=LATER, changed_at=LATER, labels={"new": "yes"})
    assert applied == WatchChanges(added=(("vidu", "1"),))
    assert await store.watches.claim(10) == [again]
    after, _ = await move(store, again, "queueing")
    assert after.sequence == 2
    event = (await store.lists.events(EventFilter(), limit=1))[0]
    assert (event["sequence"], event["previous_state"], event["state"]) == (2, None, "queueing")


async def test_a_watch_belongs_to_whoever_wanted_it_again(store: Store) -> None:
    """One that a file dropped and the API then asked for is none of the file's business."""
    await store.watches.apply([wanted("1")], origin="file", now=T0)
    await relist(store)
    await apply(store, wanted("1"), origin="api")
    assert await relist(store) == (WatchChanges(), [])
    assert [watch.id for watch in await store.watches.claim(10)] == ["1"]


async def test_an_ended_watch_stays_ended_until_it_is_removed(store: Store) -> None:
    """A finished task is not followed again when it is asked for again, unless it was removed in between."""
    (watch,) = await follow(store, "1")
    await move(store, watch, "success")
    assert await apply(store, wanted("1")) == WatchChanges(unchanged=1)
    assert await store.watches.claim(10) == []
    assert (await store.lists.summary())["watches"] == {"vidu": {"succeeded": 1}}
    assert await store.watches.remove("vidu", "1", now=LATER) is not None
    assert (await apply(store, wanted("1"))).added == (("vidu", "1"),)
    (again,) = await store.watches.claim(10)
    assert (again.ended, again.phase, again.sequence) == (False, None, 1)
    assert (await store.lists.summary())["watches"] == {"vidu": {"new": 1}}


async def test_a_lost_watch_is_followed_anew_once_it_was_removed(store: Store) -> None:
    """A user who removes it and adds it again has mended the cause. To add it again alone changes nothing."""
    (watch,) = await follow(store, "1")
    lost = await lose(store, watch)
    assert await apply(store, wanted("1")) == WatchChanges(unchanged=1)
    assert await store.watches.claim(10) == []
    await store.watches.remove("vidu", "1", now=LATER)
    assert (await apply(store, wanted("1"))).added == (("vidu", "1"),)
    (again,) = await store.watches.claim(10)
    assert (again.ended, again.sequence) == (False, lost.sequence)
    assert (await store.lists.summary())["watches"] == {"vidu": {"new": 1}}


async def test_of_duplicates_in_one_call_the_last_counts(store: Store) -> None:
    """One row for one task."""
    applied = await apply(store, wanted("1", labels={"n": "1"}), wanted("2"), wanted("1", labels={"n": "2"}))
    assert applied.added == (("vidu", "1"), ("vidu", "2"))
    assert [(watch.id, watch.labels) for watch in await store.watches.claim(10)] == [("1", {"n": "2"}), ("2", {})]


async def test_the_same_id_of_two_sources_is_two_tasks(store: Store) -> None:
    """A provider knows only its own ids."""
    applied = await apply(store, wanted("1"), wanted("1", source="other"))
    assert applied.added == (("vidu", "1"), ("other", "1"))
    assert await store.watches.remove("other", "1", now=LATER) is not None
    assert [watch.source for watch in await store.watches.claim(10)] == ["vidu"]


@pytest.mark.parametrize(
    "task_id", ["'; DROP TABLE watches; --", "a%b_c", "日本語 😀", "x" * 512, "\\", '"', ":id", "?1"]
)
async def test_any_text_is_an_id(store: Store, task_id: str) -> None:
    """Ids are values, never SQL."""
    (watch,) = await follow(store, task_id)
    watch, (delivery,) = await move(store, watch, "queueing")
    item = await shown(store, delivery.id)
    assert item["task"] == watch.id == task_id


async def test_tens_of_thousands_at_once(store: Store) -> None:
    """A big file is one call: all or nothing, and each once."""
    many = [wanted(str(number)) for number in range(20_000)]
    assert len((await store.watches.apply(many, origin="file", now=T0)).added) == 20_000
    again, removed = await relist(store, *many[5_000:])
    assert (len(removed), again.unchanged, again.added) == (5_000, 15_000, ())
    claimed = await store.watches.claim(20_000)
    assert len({watch.pk for watch in claimed}) == 15_000
    await store.watches.release(claimed)
    assert len(await store.watches.claim(20_000)) == 15_000


async def test_removing_what_is_not_there(store: Store) -> None:
    """None for a watch that never was or that is removed already."""
    assert await store.watches.remove("vidu", "1", now=T0) is None
    await store.watches.apply([wanted("1")], origin="api", now=T0)
    assert await store.watches.remove("vidu", "1", now=T0) is not None
    assert await store.watches.remove("vidu", "1", now=T0) is None
    assert (await store.lists.summary())["watches"] == {}


async def test_the_deliveries_of_a_removed_watch_still_go_out(store: Store) -> None:
    """An observed event was promised to its endpoints."""
    (watch,) = await follow(store, "1")
    await move(store, watch, "queueing", to=[Address(endpoint="app", take=False)])
    await store.watches.remove("vidu", "1", now=T0)
    assert len(await claim(store)) == 1


# -- claiming


async def test_the_oldest_are_claimed_first_and_each_by_one(store: Store) -> None:
    """Up to the limit; a claimed watch is not claimed again before it is released."""
    for second, name in ((3, "c"), (1, "a"), (2, "b")):
        await store.watches.apply([wanted(name)], origin="api", now=T0 + second)
    first = await store.watches.claim(2)
    assert [watch.id for watch in first] == ["a", "b"]
    assert [watch.id for watch in await store.watches.claim(2)] == ["c"]
    assert await store.watches.claim(2) == []
    await store.watches.release(first)
    assert await store.watches.claim(5) == first


async def test_claimed_concurrently_each_goes_to_one(store: Store) -> None:
    """However many ask at once."""
    await store.watches.apply([wanted(str(number)) for number in range(100)], origin="api", now=T0)
    shares = await asyncio.gather(*(store.watches.claim(7) for _ in range(20)))
    ids = [watch.id for share in shares for watch in share]
    assert len(ids) == len(set(ids)) == 100


async def test_a_claimed_watch_is_as_last_committed(store: Store) -> None:
    """The node that takes over continues with the last committed step."""
    (watch,) = await follow(store, "1")
    watch, _ = await move(store, watch, "queueing", at=T0 + 1)
    watch, _ = await move(store, watch, "processing", at=T0 + 2)
    await store.watches.release([watch])
    (taken,) = await store.watches.claim(1)
    assert taken == watch
    assert (taken.state, taken.phase, taken.sequence, taken.changed_at) == ("processing", Phase.RUNNING, 2, T0 + 2)


async def test_ended_and_removed_watches_are_not_claimed(store: Store) -> None:
    """There is nothing to follow."""
    one, two, _ = await follow(store, "1", "2", "3")
    await move(store, one, "success")
    await store.watches.remove("vidu", "2", now=T0)
    await store.watches.release([one, two])
    assert await store.watches.claim(10) == []


async def test_releasing_nothing_or_what_is_not_ours_does_nothing(store: Store) -> None:
    """A release may come late."""
    (watch,) = await follow(store, "1")
    await store.watches.release([])
    await store.watches.release([watch])
    await store.watches.release([watch])
    assert await store.watches.claim(10) == [watch]


# -- steps


async def test_a_step_is_saved_with_its_deliveries(store: Store) -> None:
    """The deliveries come back in order, with the very bytes that were recorded."""
    (watch,) = await follow(store, "1")
    step = observed(watch, "queueing", T0 + 1)
    (saved,) = recorded(step, [Address(endpoint="app"), Address(endpoint="ops")])
    app, ops = await store.outbox.commit(step.watch, [saved])
    assert app == Delivery(
        id=app.id,
        endpoint="app",
        event_id=saved.id,
        event_type="task.state_changed",
        body=saved.body,
        lane=watch.pk,
        observed_at=T0 + 1,
    )
    assert replace(ops, id=app.id, endpoint="app") == app
    assert ops.id > app.id


async def test_an_event_that_nobody_asked_for_moves_the_watch_all_the_same(store: Store) -> None:
    """There are no deliveries, but the state is kept."""
    (watch,) = await follow(store, "1")
    watch, deliveries = await move(store, watch, "queueing", to=())
    assert deliveries == []
    await store.watches.release([watch])
    assert await store.watches.claim(1) == [watch]


async def test_nothing_to_save_is_nothing_to_send(store: Store) -> None:
    """A commit of no record changes nothing."""
    assert await store.outbox.commit(None, []) == []
    assert await store.lists.deliveries(DeliveryFilter(), limit=10) == []


async def test_a_step_from_a_state_that_is_not_the_stored_one_is_refused(store: Store) -> None:
    """A second step from the same state would repeat a sequence; a skipped one would leave a gap."""
    (watch,) = await follow(store, "1")
    after, _ = await move(store, watch, "queueing")
    with pytest.raises(StaleWrite):
        await move(store, watch, "processing")
    with pytest.raises(StaleWrite):
        await move(store, replace(after, sequence=5), "processing")
    assert len(await store.lists.deliveries(DeliveryFilter(), limit=10)) == 1
    assert (await move(store, after, "processing"))[0].sequence == 2


async def test_a_step_of_a_watch_that_is_not_ours_is_refused(store: Store) -> None:
    """A released watch takes no step, and one that was never claimed takes none."""
    (watch,) = await follow(store, "1")
    await store.watches.release([watch])
    with pytest.raises(StaleWrite):
        await move(store, watch, "queueing")
    assert await store.lists.deliveries(DeliveryFilter(), limit=10) == []
    (unclaimed,) = (await apply(store, wanted("2"))).keys
    with pytest.raises(StaleWrite):
        await move(store, replace(watch, pk=unclaimed, id="2"), "queueing")


async def test_a_step_of_a_watch_that_is_no_longer_wanted_is_refused(store: Store) -> None:
    """Removal takes effect at once; being wanted again does not make the old hold good."""
    (watch,) = await follow(store, "1")
    await store.watches.remove("vidu", "1", now=T0)
    with pytest.raises(StaleWrite):
        await move(store, watch, "queueing")
    await apply(store, wanted("1"))
    with pytest.raises(StaleWrite):
        await move(store, watch, "queueing")
    assert await store.lists.deliveries(DeliveryFilter(), limit=10) == []


async def test_one_refused_step_spoils_no_other(store: Store) -> None:
    """Steps that are saved together succeed or fail each for itself."""
    watches = await follow(store, *map(str, range(50)))
    gone = watches[7::10]
    await store.watches.release(gone)
    results = await asyncio.gather(*(move(store, watch, "queueing") for watch in watches), return_exceptions=True)
    refused = {watch.id for watch, result in zip(watches, results, strict=True) if isinstance(result, StaleWrite)}
    assert refused == {watch.id for watch in gone}
    assert len([result for result in results if isinstance(result, tuple)]) == 45
    listed = await store.lists.deliveries(DeliveryFilter(), limit=100)
    assert sorted(str(item["task"]) for item in listed) == sorted({watch.id for watch in watches} - refused)


async def test_one_operation_that_fails_by_its_own_fault_spoils_no_other(store: Store) -> None:
    """A value that the database cannot hold fails its own operation alone."""
    one, two = await follow(store, "1", "2")
    broken = observed(two, "queueing", T0)
    bad = store.outbox.commit(broken.watch, [replace(recorded(broken)[0], at=2**70)])
    good, failed = await asyncio.gather(move(store, one, "queueing"), bad, return_exceptions=True)
    assert isinstance(good, tuple)
    assert isinstance(failed, OverflowError | psycopg.DataError)
    assert store.available


async def test_an_operators_event_has_no_watch_and_no_order(store: Store) -> None:
    """Two of them to one endpoint are ready at once."""
    saved = [record(for_operators(T0 + n), [Address(endpoint="ops")]) for n in range(2)]
    first, second = await store.outbox.commit(None, saved)
    assert (first.lane, second.lane) == (None, None)
    assert [first.event_id, second.event_id] == [each.id for each in saved]
    assert [first.observed_at, second.observed_at] == [T0, T0 + 1]


async def test_every_id_is_used_once(store: Store) -> None:
    """Also where groups of writers were refused in between."""
    watches = await follow(store, *map(str, range(30)))
    seen = []
    for state in ("queueing", "processing", "success"):
        stale = replace(watches[0], sequence=9)
        results = await asyncio.gather(
            move(store, stale, "failed"), *(move(store, watch, state) for watch in watches), return_exceptions=True
        )
        assert isinstance(results[0], StaleWrite)
        moved = [result for result in results[1:] if not isinstance(result, BaseException)]
        watches = [watch for watch, _ in moved]
        seen += [delivery.id for _, deliveries in moved for delivery in deliveries]
    listed = await store.lists.deliveries(DeliveryFilter(), limit=1000)
    assert len({item["id"] for item in listed}) == len(listed) == 90
    assert set(seen) <= {item["id"] for item in listed}


# -- the end and the beginning


async def test_after_a_restart_everything_that_was_saved_is_there_and_free(store_url: str) -> None:
    """Watches and deliveries that an earlier run held are claimable, as last committed; its holds are void."""
    async with running(store_url) as store:
        one, two = await follow(store, "1", "2")
        one, (held,) = await move(store, one, "queueing")
        one, _ = await move(store, one, "processing")
    async with running(store_url) as store:
        with pytest.raises(StaleWrite):
            await move(store, one, "success")
        assert await store.watches.claim(10) == [one, two]
        (delivery,) = await claim(store)
        assert delivery == held
        one, _ = await move(store, one, "success")
        assert one.sequence == 3


async def test_ids_go_on_after_a_restart(store_url: str) -> None:
    """No id is given twice, or an acknowledgement would be for another delivery."""
    seen: list[int] = []
    for run in range(3):
        async with running(store_url) as store:
            *_, watch = await follow(store, f"{run}")
            _, (delivery,) = await move(store, watch, "queueing", to=APP)
            seen.append(delivery.id)
    assert seen == sorted(set(seen))


async def test_a_closed_store_finishes_what_was_begun_and_takes_nothing_more(store_url: str) -> None:
    """Writes that were asked for before the end are saved, later ones refused."""
    async with running(store_url) as store:
        watches = await follow(store, *map(str, range(20)))
        moves = [asyncio.create_task(move(store, watch, "queueing")) for watch in watches]
        await asyncio.sleep(0)
        await store.close()
        assert len(await asyncio.gather(*moves)) == 20
        with pytest.raises(StoreUnavailable):
            await store.watches.apply([wanted("late")], origin="api", now=T0)
    async with running(store_url) as store:
        assert len(await store.lists.deliveries(DeliveryFilter(), limit=100)) == 20
