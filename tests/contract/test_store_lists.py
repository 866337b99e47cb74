"""The promises of `Store.lists` about watches and events, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from store_rig import APP, LATER, SECOND, T0, claim, follow, for_operators, lose, move, record, settled, wanted
from waits import until

from notifier.core.model import NewWatch
from notifier.core.payload import timestamp
from notifier.store import EventFilter, Store, WatchFilter, lists


async def ids(store: Store, *, limit: int = 1000, before: int | None = None, **which: Any) -> list[str]:
    found = await store.lists.watches(WatchFilter(**which), limit=limit, before=before)
    return [item["id"] for item in found]


async def cursors(store: Store, *, before: int | None = None, after: int | None = None, **which: Any) -> list[int]:
    found = await store.lists.events(EventFilter(**which), limit=1000, before=before, after=after)
    return [int(item["cursor"]) for item in found]


async def test_a_watch_is_listed_as_it_is_kept(store: Store) -> None:
    """Times in words, JSON as values, and who asked for it."""
    asked = wanted("1", labels={"team": "video"}, metadata={"order": [7, None]}, endpoints=("app",))
    await store.watches.apply([asked], origin="queue", now=T0)
    [item] = await store.lists.watches(WatchFilter(), limit=10)
    at = timestamp(T0)
    assert item == {
        "pk": item["pk"],
        "source": "vidu",
        "id": "1",
        "phase": None,
        "state": None,
        "sequence": 0,
        "labels": {"team": "video"},
        "metadata": {"order": [7, None]},
        "endpoints": ["app"],
        "callback": None,
        "variables": {},
        "traceparent": None,
        "origin": "queue",
        "created_at": at,
        "updated_at": at,
        "changed_at": at,
        "ended": False,
        "lost": None,
        "owner": None,
    }


async def test_a_watch_that_is_added_again_is_listed_with_the_dates_of_that(store: Store) -> None:
    """Though it is described as before: it was changed after it was removed."""
    await store.watches.apply([wanted("1")], origin="api", now=T0)
    await store.watches.remove("vidu", "1", now=LATER)
    await store.watches.apply([wanted("1")], origin="api", now=LATER + SECOND)
    [item] = await store.lists.watches(WatchFilter(), limit=10)
    assert {item[name] for name in ("created_at", "changed_at", "updated_at")} == {timestamp(LATER + SECOND)}


async def test_metadata_that_was_not_given_is_listed_as_it_is_sent(store: Store) -> None:
    await store.watches.apply([wanted("1"), wanted("2", metadata={})], origin="api", now=T0)
    assert [item["metadata"] for item in await store.lists.watches(WatchFilter(), limit=10)] == [{}, {}]
    detail = await store.lists.watch("vidu", "1")
    assert detail is not None
    assert detail["metadata"] == {}


async def test_watches_are_listed_by_how_they_stand(store: Store) -> None:
    """Newest first; what was taken away is not listed, what ended is."""
    new, running, done, gone, removed = await follow(store, "new", "running", "done", "gone", "removed")
    await move(store, running, "processing")
    await move(store, done, "success")
    queued, _ = await move(store, gone, "queueing")
    await lose(store, queued)
    await store.watches.remove(removed.source, removed.id, now=LATER)
    assert await ids(store) == ["gone", "done", "running", "new"]
    assert await ids(store, phase="new") == ["new"]
    assert await ids(store, phase="running") == ["running"]
    assert await ids(store, phase="succeeded") == ["done"]
    assert await ids(store, phase="queued") == []
    assert await ids(store, phase="lost") == ["gone"]
    assert await ids(store, state="processing") == ["running"]
    assert await ids(store, ended=True) == ["gone", "done"]
    assert await ids(store, ended=False) == ["running", "new"]
    assert await ids(store, ended=False, phase="running", source="vidu") == ["running"]
    assert await ids(store, source="other") == []
    assert new.ended is False


async def test_lists_by_phase_agree_with_the_counts(store: Store) -> None:
    """Each watch is in one phase, also one that was given up while it was new, queued or running."""
    fresh, queued, running, *_ = await follow(store, "new", "queued", "running", "2", "3")
    for watch, state in ((queued, "queueing"), (running, "processing")):
        moved, _ = await move(store, watch, state)
        await lose(store, moved)
    await lose(store, fresh)
    counts = (await store.lists.summary())["watches"]["vidu"]
    assert counts == {"lost": 3, "new": 2}
    phases = ("new", "queued", "running", "succeeded", "failed", "canceled", "lost")
    listed = {phase: len(await ids(store, phase=phase)) for phase in phases}
    assert {phase: count for phase, count in listed.items() if count} == counts


async def test_watches_that_were_given_up_lately_are_counted(store: Store) -> None:
    """By source and reason, from a time on; not one that was removed, nor one that was added again."""
    early, late, removed, again, _ = await follow(store, "early", "late", "removed", "again", "open")
    for watch, at in ((early, T0), (late, T0 + 5), (removed, T0 + 5), (again, T0 + 5)):
        await lose(store, watch, at=at)
    await store.watches.remove("vidu", "removed", now=T0 + 6)
    await store.watches.remove("vidu", "again", now=T0 + 6)
    await store.watches.apply([wanted("again")], origin="api", now=T0 + 7)
    assert (await store.lists.summary(lost_since=T0 + 5))["lost"] == {"vidu": {"not_found": 1}}
    assert (await store.lists.summary())["lost"] == {"vidu": {"not_found": 2}}
    assert (await store.lists.summary(lost_since=T0 + 6))["lost"] == {}


@pytest.mark.parametrize(
    ("labels", "asked", "found"),
    [
        ({"a": "b"}, "a:b", True),
        ({"a": "b", "c": "d"}, "c:d", True),
        ({"a": "b"}, "a:B", False),
        ({"a": "b"}, "A:b", False),
        ({"a": "bc"}, "a:b", False),
        ({"xa": "b"}, "a:b", False),
        ({'a", "c': "d"}, "c:d", False),
        ({'x": "y", "a': "b"}, "a:b", False),
        ({'x, "a': "b"}, "a:b", False),
        ({"x": '", "a": "b"'}, "a:b", False),
        ({"x": ', "a": "b"'}, "a:b", False),
        ({'{"a': "b"}, "a:b", False),
        ({"a": 'b"'}, "a:b", False),
        ({"a": 'b"'}, 'a:b"', True),
        ({"a\\": "b"}, "a\\:b", True),
        ({"ä": "%_"}, "ä:%_", True),
        ({"ä": "xx"}, "ä:%_", False),
        ({"": ""}, ":", True),
        ({"x": ""}, ":", False),
        ({"urn:team": "video"}, "urn:team:video", True),
        ({"urn": "team:video"}, "urn:team:video", True),
        ({"urn:team:video": ""}, "urn:team:video:", True),
        ({"": "urn:team"}, ":urn:team", True),
        ({": ": ": "}, ": :: ", True),
        ({'a": "b': "c:d"}, 'a": "b:c:d', True),
        ({"a": "b", "c": "d:e"}, 'a": "b", "c:d:e', False),
        ({"urn:team": "videos"}, "urn:team:video", False),
        ({"n:team": "video"}, "urn:team:video", False),
        ({"a:": "c"}, "a:b:c", False),
        ({":" * lists.MAX_COLONS: "a"}, ":" * lists.MAX_COLONS + ":a", True),
        ({"a": ":" * 4000}, "a:" + ":" * 4000, True),
    ],
)
async def test_a_label_is_found_exactly(store: Store, labels: dict[str, str], asked: str, found: bool) -> None:
    """No character of a label has a special meaning; a key and a value may hold colons."""
    await store.watches.apply([wanted("1", labels=labels)], origin="api", now=T0)
    assert await ids(store, labels=(asked,)) == (["1"] if found else [])


@pytest.mark.parametrize(
    ("text", "found"), [("", True), ("task", True), ("K_%", True), ("%", True), ("k%", False), ("/", False)]
)
async def test_a_part_of_an_id_is_found(store: Store, text: str, found: bool) -> None:
    """Each sign stands for itself, but for upper and lower case."""
    await store.watches.apply([wanted("Task_%1")], origin="api", now=T0)
    assert await ids(store, text=text) == (["Task_%1"] if found else [])


async def test_pages_of_watches_stay_put(store: Store) -> None:
    """A page goes on below the key that the one before ended with."""
    await store.watches.apply([wanted(str(number)) for number in range(5)], origin="api", now=T0)
    first = await store.lists.watches(WatchFilter(), limit=2)
    await store.watches.apply([wanted("later")], origin="api", now=LATER)
    assert [item["id"] for item in first] == ["4", "3"]
    assert await ids(store, limit=2, before=first[-1]["pk"]) == ["2", "1"]
    assert await ids(store, before=0) == []


async def test_a_watch_is_shown_with_what_came_of_it(store: Store) -> None:
    """Events oldest first, each with its payload and its deliveries; others' are not among them."""
    watch, other = await follow(store, "1", "2")
    watch, [delivery] = await move(store, watch, "queueing")
    await store.outbox.settle(settled(delivery))
    watch, _ = await move(store, watch, "processing")
    await move(store, other, "queueing")
    shown = await store.lists.watch("vidu", "1")
    assert shown is not None
    assert (shown["id"], shown["state"], shown["more"]) == ("1", "processing", False)
    assert [event["payload"]["data"]["state"] for event in shown["events"]] == ["queueing", "processing"]
    told = [[(each["endpoint"], each["status"]) for each in event["deliveries"]] for event in shown["events"]]
    assert told == [[("app", "delivered")], [("app", "ready")]]


async def test_what_is_not_wanted_is_not_shown(store: Store) -> None:
    """Removed watches and unknown ids are not found."""
    await follow(store, "1")
    await store.watches.remove("vidu", "1", now=LATER)
    assert await store.lists.watch("vidu", "1") is None
    assert await store.lists.watch("vidu", "2") is None
    assert await store.lists.watch("other", "1") is None


async def test_a_watch_with_many_events_is_shown_with_the_latest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as may be, by number and by bytes, and one at least; it says that there are more."""
    (watch,) = await follow(store, "1")
    for number in range(6):
        watch, _ = await move(store, watch, f"state {number}")
    for limit, size, expected in [(6, 1 << 20, 6), (5, 1 << 20, 5), (6, 0, 1)]:
        monkeypatch.setattr(lists, "TIMELINE", limit)
        monkeypatch.setattr(lists, "TIMELINE_BYTES", size)
        shown = await store.lists.watch("vidu", "1")
        assert shown is not None
        assert [event["sequence"] for event in shown["events"]] == list(range(7 - expected, 7))
        assert shown["more"] is (expected < 6)


async def test_events_are_listed_both_ways(store: Store) -> None:
    """Newest first before a cursor, oldest first after one; operators' events are among them."""
    one, two = await follow(store, "1", "2")
    await move(store, one, "queueing")
    await move(store, two, "success")
    await store.outbox.commit(None, [record(for_operators())])
    newest, middle, oldest = await cursors(store)
    assert newest > middle > oldest
    assert await cursors(store, before=newest) == [middle, oldest]

    async def shown() -> bool:
        return len(await cursors(store, after=0)) == 3

    await until(shown)  # PostgreSQL: not before all transactions of before have ended, those of other databases too
    assert await cursors(store, after=oldest) == [middle, newest]
    assert await cursors(store, after=0) == [oldest, middle, newest]
    assert await cursors(store, before=newest, after=oldest) == [middle]
    assert await cursors(store, after=newest) == []
    assert await cursors(store, type="task.succeeded") == [middle]
    assert await cursors(store, source="vidu") == [middle, oldest]
    assert await cursors(store, source="other") == []
    assert await cursors(store, task="1") == [oldest]
    assert await cursors(store, task="1", source="other") == []
    assert await cursors(store, task="1", type="task.succeeded") == []


async def test_the_same_id_at_two_sources_are_two_watches(store: Store) -> None:
    """Their events are told apart by the source."""
    asked = [NewWatch(source=source, id="1") for source in ("a", "b")]
    await store.watches.apply(asked, origin="api", now=T0)
    for watch in await store.watches.claim(10):
        await move(store, watch, "queueing", to=APP)
    assert len(await cursors(store, task="1")) == 2
    assert len(await cursors(store, task="1", source="a")) == 1
    assert len(await claim(store)) == 0
