"""A clock that was set: open rows keep their ages and waits, settled rows their dates; no delivery waits for ever."""

from __future__ import annotations

import pytest
from store_rig import SECOND, T0, claim, follow, lose, move, settled

from notifier.core import endpoint as core
from notifier.core.callback import Callback
from notifier.core.model import Address, NewWatch, Watch
from notifier.core.payload import timestamp
from notifier.runtime.clock import Era
from notifier.store import ClockMemory, ClockShift, EndpointChange, Later, Store, WatchFilter, Written, redating
from notifier.store.connection import Connection

DAY = 86_400 * SECOND
URL = "https://example.com/hook"
ERA = Era(begins=7, offset=T0)


async def redate(store: Store, shift: ClockShift) -> int:
    """Move all dates, however many transactions that takes; return their number."""
    memory, transactions = ClockMemory(store._writer), 0  # a shared store has none: nodes date by its clock
    while await memory.move(ERA, shift):
        transactions += 1
    return transactions


def shift(by: int, since: int, now: int) -> ClockShift:
    """Set the clock once, to a time that it has shown from `since` to `now`."""
    return ClockShift(by=by, written=(Written(first=since, last=now, by=0),))


async def opened(store: Store, task_id: str = "1") -> Watch:
    (watch,) = await follow(store, task_id)
    return watch


async def dates(store: Store, task_id: str) -> tuple[str, str]:
    detail = await store.lists.watch("vidu", task_id)
    assert detail is not None
    return detail["created_at"], detail["changed_at"]


@pytest.mark.parametrize("by", [2 * DAY, -400 * DAY, -90 * SECOND])
async def test_open_watches_keep_their_age(store: Store, by: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, however many transactions that takes; those that ended stay as they are."""
    monkeypatch.setattr(redating, "CHUNK", 2)
    watches = await follow(store, *map(str, range(5)))
    await move(store, watches[0], "processing", at=T0 + 5)
    await lose(store, watches[4], at=T0 + 7)
    since = T0 + 10 * SECOND + by
    (new,) = await follow(store, "new", now=since + SECOND)
    await redate(store, shift(by, since, since + 2 * SECOND))
    assert await dates(store, "0") == (timestamp(T0 + by), timestamp(T0 + by + 5))
    for task_id in "123":
        assert await dates(store, task_id) == (timestamp(T0 + by), timestamp(T0 + by))
    assert await dates(store, "4") == (timestamp(T0), timestamp(T0))
    assert await dates(store, new.id) == (timestamp(since + SECOND), timestamp(since + SECOND))


@pytest.mark.parametrize("by", [2 * DAY, -400 * DAY])
async def test_a_retry_keeps_its_wait(store: Store, by: int) -> None:
    """It is due as long after the clock was set as it would have been without."""
    _, (delivery,) = await move(store, await opened(store), "processing")
    due = T0 + 60 * SECOND
    await store.outbox.settle(settled(delivery, Later(due=due, attempt=1, reason="http_500"), at=T0))
    since = T0 + SECOND + by
    await redate(store, shift(by, since, since))
    assert (await store.outbox.claim({"app": 1}, now=due + by - 1)).next_due == {"app": due + by}
    assert len(await claim(store, now=due + by)) == 1


@pytest.mark.parametrize("by", [3 * 3600 * SECOND, -3 * 3600 * SECOND])
async def test_a_retry_that_the_clock_as_it_is_has_scheduled_stays(store: Store, by: int) -> None:
    """Its attempt was made after the setting, though it is due hours later."""
    _, (delivery,) = await move(store, await opened(store), "processing")
    since = T0 + SECOND + by
    due = since + 5 * 3600 * SECOND
    verdict = Later(due=due, attempt=1, reason="http_500")
    await store.outbox.settle(settled(delivery, verdict, at=since + SECOND))
    await redate(store, shift(by, since, since + 2 * SECOND))
    assert (await store.outbox.claim({"app": 1}, now=since + SECOND)).next_due == {"app": due}


async def test_a_walk_that_was_interrupted_goes_on_where_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row is moved once, and the destinations of callbacks too."""
    monkeypatch.setattr(redating, "CHUNK", 2)
    new = [NewWatch(source="vidu", id=str(n), callback=Callback(url=URL)) for n in range(3)]
    await store.watches.apply(new, origin="api", now=T0)
    watches = await store.watches.claim(3)
    for watch in watches:
        assert watch.callback is not None
        await move(store, watch, "processing", to=(Address(endpoint=watch.callback, take=False),))
    moved = shift(DAY, T0 + SECOND + DAY, T0 + 2 * SECOND + DAY)
    assert await redate(store, moved) == 4, "two of each kind"
    assert await redate(store, moved) == 0, "this move is over"
    for watch in watches:
        assert await dates(store, watch.id) == (timestamp(T0 + DAY), timestamp(T0 + DAY))
    assert watches[0].callback is not None
    assert (await store.endpoints.take_callbacks(1, now=T0 + DAY - 1)).taken == ()
    assert await claim(store, watches[0].callback, now=T0 + DAY - 1) == []
    assert len(await claim(store, watches[0].callback, now=T0 + DAY)) == 3


async def test_a_callbacks_retry_keeps_its_wait(store: Store) -> None:
    """Its destination is looked for when the delivery is due."""
    new = NewWatch(source="vidu", id="1", callback=Callback(url=URL))
    await store.watches.apply([new], origin="api", now=T0)
    (watch,) = await store.watches.claim(1)
    assert watch.callback is not None
    await move(store, watch, "processing", to=(Address(endpoint=watch.callback, take=False),))
    by = -400 * DAY
    await redate(store, shift(by, T0 + SECOND + by, T0 + SECOND + by))
    taken = await store.endpoints.take_callbacks(1, now=T0 + by)
    assert [callback.url for callback, _ in taken.taken] == [URL]
    assert len(await claim(store, watch.callback, now=T0 + by)) == 1


@pytest.mark.parametrize("by", [20 * DAY, -400 * DAY])
async def test_an_endpoint_has_failed_for_as_long_as_before(store: Store, by: int) -> None:
    """Else a later start would disable it at once. One that is well stays so, and so does what failed since."""
    since = T0 + 10 * SECOND + by
    for name, failing in (("app", T0), ("new", since + SECOND), ("well", None)):
        update = core.announcing(failing) if failing else core.disabling(T0, "operator", None)
        await store.endpoints.change(EndpointChange(name=name, fingerprint="f", update=update))
    await redate(store, shift(by, since, since + 2 * SECOND))
    found = {state.name: state.failing_since for state in await store.endpoints.states()}
    assert found == {"app": T0 + by, "new": since + SECOND, "well": None}


async def test_what_no_schedule_would_put_so_far_is_due_now(store: Store) -> None:
    """A retry of a clock that was 400 days ahead, and nobody saw it set back."""
    watches = await follow(store, "far", "near")
    (far,), (near,) = [(await move(store, watch, "processing"))[1] for watch in watches]
    for delivery, due in ((far, T0 + 400 * DAY), (near, T0 + DAY)):
        await store.outbox.settle(settled(delivery, Later(due=due, attempt=1, reason="http_500")))
    assert await claim(store, now=T0 + SECOND) == []
    assert await store.outbox.pull(latest=T0 + 2 * DAY, now=T0 + SECOND) == 1
    assert [delivery.id for delivery in await claim(store, now=T0 + SECOND)] == [far.id]
    assert await store.outbox.pull(latest=T0 + 2 * DAY, now=T0 + SECOND) == 0


async def test_a_delivery_under_way_is_left_to_its_node(store: Store) -> None:
    """It is settled with a date of the present."""
    _, (delivery,) = await move(store, await opened(store), "processing", at=T0 + 400 * DAY)
    assert await store.outbox.pull(latest=T0 + 2 * DAY, now=T0) == 0
    await store.outbox.settle(settled(delivery))


async def test_a_watch_of_the_future_begins_now(store: Store) -> None:
    """Its deadline would be years away otherwise; watches of the past stay as they are."""
    await follow(store, "past", now=T0)
    await follow(store, "future", now=T0 + 400 * DAY)
    await store.watches.begin(now=T0 + SECOND)
    assert await dates(store, "past") == (timestamp(T0), timestamp(T0))
    assert await dates(store, "future") == (timestamp(T0 + SECOND), timestamp(T0 + SECOND))
    assert len(await store.lists.watches(WatchFilter(), limit=5)) == 2


async def test_a_date_that_is_not_there_stays_away(store: Store) -> None:
    """A destination without due deliveries has no date to move."""
    new = NewWatch(source="vidu", id="1", callback=Callback(url=URL))
    await store.watches.apply([new], origin="api", now=T0)
    await redate(store, shift(DAY, T0 + DAY, T0 + DAY))

    def due(connection: Connection) -> list[int | None]:
        return [due for (due,) in connection.execute("SELECT due FROM callbacks")]

    assert await store._reader.page(due) == [None]
