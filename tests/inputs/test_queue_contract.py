"""What every queue promises, on real servers."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from broker_ways import WAYS, Proxy, Way
from input_rig import Start
from queue_places import NatsPlace, Place, ids
from waits import PATIENCE, until

from notifier.inputs import limits
from notifier.inputs.broker import BrokerUnavailable, Message, Session

MOST_REPLIES = 60  # in one conversation with a broker, by far


def rows(path: Path, query: str = "SELECT source, id, removed_at IS NULL FROM watches ORDER BY pk") -> list[Any]:
    """Read the store's database."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


async def test_every_shape_is_taken_in_order(place: Place, start: Start, path: Path) -> None:
    """Messages come to the store in the order in which they were sent, whatever their shape."""
    await place.publish(
        b'{"id": "1", "labels": {"team": "video"}, "metadata": {"order": 7}, "endpoints": ["app"]}',
        b'["2", {"id": "3", "source": "other"}]',
        b"plain-4\n",
        b'"5"',
        b"2370487727425661000000000000007",
        b"12e7",
        b'{"remove": {"id": "2"}}',
        b'{"remove": [{"id": "3", "source": "other"}, "never-there"]}',
    )
    running = start(place.broker())
    await running.tally.wait(accepted=6, removed=2)
    assert rows(path) == [
        ("vidu", "1", 1), ("vidu", "2", 0), ("other", "3", 0), ("vidu", "plain-4", 1), ("vidu", "5", 1),
        ("vidu", "2370487727425661000000000000007", 1), ("vidu", "12e7", 1),
    ]  # fmt: skip
    [(labels, metadata, endpoints, origin)] = rows(
        path, "SELECT labels, metadata, endpoints, origin FROM watches WHERE id = '1'"
    )
    assert json.loads(labels) == {"team": "video"}
    assert json.loads(metadata) == {"order": 7}
    assert json.loads(endpoints) == ["app"]
    assert origin == "queue"
    await until(lambda: nothing_left(place), "everything is acknowledged")
    assert running.tally.counts == {"accepted": 6, "removed": 2}


async def nothing_left(place: Place) -> bool:
    """Return whether everything is acknowledged."""
    return await place.left() == 0


async def test_messages_share_transactions(place: Place, start: Start, path: Path) -> None:
    """A backlog is stored in batches, in its order."""
    await place.publish(*ids(0, 500))
    running = start(place.broker())
    await running.tally.wait(accepted=500)
    assert [id_ for _, id_, _ in rows(path)] == [f"task-{n}" for n in range(500)]
    assert len(running.intake.applied) < 250


async def test_nothing_is_acknowledged_that_is_not_committed(
    place: Place, start: Start, path: Path, events: list[Any]
) -> None:
    """While the store cannot be written, the broker keeps every message; then they are stored without a restart."""
    await place.publish(*ids(0, 30))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        running = start(place.broker())
        await running.tally.wait(retried=2)
        await running.stop()
        other.execute("ROLLBACK")
    assert rows(path) == []
    assert running.tally.counts["accepted"] == 0

    async def all_there() -> bool:
        return await place.left() == 30

    await until(all_there, "the broker has all of them")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        again = start(place.broker())
        await again.tally.wait(retried=1)
        other.execute("ROLLBACK")
    await until(lambda: stored(path, 30), "every message is stored")
    await until(lambda: nothing_left(place), "everything is acknowledged")
    assert not [event for event in events if event["event"].startswith("queue.")]


async def test_a_bad_message_is_set_aside_alone(
    place: Place, start: Start, path: Path, events: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Poison hurts no neighbour, and is kept byte for byte with the reason; a list is refused whole."""
    poison = {
        b'{"id": ': "neither JSON nor a bare id",
        b'{"id": "x", "lables": {}}': 'did you mean "labels"?',
        b'["y", {"id": "z", "source": "nobody"}]': "[1]: source: ",
        b"\xff\xfe": "not UTF-8",
        b"null": "expected",
        b'{"remove": {"id": "q"}, "id": "q"}': "remove stands alone",
        b"[" * 100_000: "nested too deeply",
    }
    bodies = [body for pair in zip(poison, ids(0, len(poison)), strict=True) for body in pair]
    await place.publish(*bodies)
    running = start(place.broker())
    await running.tally.wait(accepted=len(poison), refused=len(poison))
    assert [id_ for _, id_, _ in rows(path)] == [f"task-{n}" for n in range(len(poison))]
    dead = await place.dead()
    assert [each.body for each in dead] == list(poison)
    for each in dead:
        assert poison[each.body] in each.reason
    await until(lambda: nothing_left(place), "everything is acknowledged")
    refused = [event for event in events if event["event"] == "queue.message_refused"]
    assert [event["reason"] for event in refused] == [each.reason for each in dead]
    assert all(len(event["message"]) <= 203 for event in refused)
    assert running.tally.counts == {"accepted": len(poison), "refused": len(poison)}


async def test_what_a_dead_consumer_was_given_is_taken_over(place: Place, start: Start, path: Path) -> None:
    """A consumer that ends without a word leaves nothing behind for ever."""
    await place.publish(*ids(0, 20))
    await place.take_and_die(12)
    start(place.broker())
    await until(lambda: stored(path, 20), "every message is stored")
    assert {id_ for _, id_, _ in rows(path)} == {f"task-{n}" for n in range(20)}
    await until(lambda: nothing_left(place), "everything is acknowledged")


async def test_two_consumers_share_a_queue(place: Place, start: Start, path: Path) -> None:
    """Both are given messages; the store has each once."""
    one, other = start(place.broker()), start(place.broker())
    sent = 0
    async with asyncio.timeout(PATIENCE):
        while not (one.tally.counts["accepted"] and other.tally.counts["accepted"]):
            await place.publish(*ids(sent, 50))
            sent += 50
            await asyncio.sleep(0.05)
    await until(lambda: stored(path, sent), "every message is stored")
    await until(lambda: nothing_left(place), "everything is acknowledged")
    found = [id_ for _, id_, _ in rows(path)]
    assert len(found) == len(set(found)) == sent


async def test_a_lost_connection_loses_no_message(
    place: Place, proxy: Proxy, start: Start, path: Path, events: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Connections are cut again and again while 500 messages are taken, and the broker is away for a while."""
    running = start(place.broker(proxy.url))
    for round_ in range(5):
        await place.publish(*ids(100 * round_, 100))
        await running.tally.wait(accepted=100 * round_ + 1)
        proxy.cut()
    await proxy.close()
    await until(lambda: said(events, "queue.unavailable"), "the outage is noticed")
    await proxy.open()
    await place.publish(*ids(500, 1))
    await until(lambda: stored(path, 501), "every message is stored")
    await until(lambda: nothing_left(place), "everything is acknowledged")
    await running.stop()
    names = [event["event"] for event in events if event["log_level"] != "debug"]
    assert set(names) == {"queue.unavailable", "queue.recovered"}
    assert names == ["queue.unavailable", "queue.recovered"] * (len(names) // 2), "each outage is told once"
    assert not any(record.exc_info for record in caplog.records)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_may_end_anywhere(
    place: Place, proxy: Proxy, way: Way, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever reply of the broker is the one that does not come, the broker is unavailable, and nothing else."""
    if isinstance(place, NatsPlace):  # its client waits for an answer as long as it may, connected or not
        monkeypatch.setattr(limits, "CONNECT", 1.0)
        monkeypatch.setattr(limits, "ANSWER", 1.0)
    for count in range(MOST_REPLIES):
        await place.publish(b"good", b"bad")
        proxy.end_at(count, way)
        try:
            async with asyncio.timeout(PATIENCE), place.broker(proxy.url).session() as session:
                found = await receive(session)
                await session.set_aside(found[0], "no good")
                await session.acknowledge(found[1:] or await receive(session))
        except BrokerUnavailable:
            assert proxy.ended
        except asyncio.CancelledError:
            assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]  # the library's own doing
        if not proxy.ended:
            break
    assert count > 3
    assert not proxy.ended, "in the end a whole conversation came through"
    gc.collect()  # a connection left open would now warn, which is an error here
    assert not any(record.exc_info for record in caplog.records)


async def receive(session: Session[Any]) -> Sequence[Message[Any]]:
    """Return the next messages."""
    while not (found := await session.receive()):
        pass
    return found


async def said(events: list[Any], name: str) -> bool:
    """Return whether the last event is of this name."""
    return bool(events) and events[-1]["event"] == name


async def stored(path: Path, count: int) -> bool:
    """Return whether the store has so many watches."""
    return len(rows(path)) == count


async def test_a_deleted_queue_is_made_anew(place: Place, start: Start, path: Path) -> None:
    """Whoever deletes the queue ends nothing: it is declared again, and read."""
    running = start(place.broker())
    await place.publish(*ids(0, 1))
    await running.tally.wait(accepted=1)
    await place.delete()

    async def taken() -> bool:
        try:
            await place.publish(*ids(1, 1))
        except Exception:  # whatever the client says of a queue that is not there yet
            return False
        return len(rows(path)) == 2

    await until(taken, "messages are taken again")


async def test_cancellation_is_clean(
    place: Place, start: Start, events: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An input that is cancelled, at work or idle, ends at once, without a word; nothing stays open."""
    await place.publish(*ids(0, 300))
    for wait in (0.0, 0.01, 0.05, 0.2, 1.2):
        running = start(place.broker())
        await asyncio.sleep(wait)
        async with asyncio.timeout(PATIENCE):
            await running.stop()
    gc.collect()  # a connection left open would now warn, which is an error here
    assert events == []
    assert caplog.records == []


async def test_a_broker_that_is_not_there_is_waited_for(
    place: Place, proxy: Proxy, start: Start, events: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The outage is told once, in one line; the input works as soon as the broker does."""
    await proxy.close()
    await place.publish(*ids(0, 1))
    running = start(place.broker(proxy.url))
    await until(lambda: said(events, "queue.unavailable"), "the outage is noticed")
    await asyncio.sleep(0.5)
    await proxy.open()
    await running.tally.wait(accepted=1)
    assert [event["event"] for event in events] == ["queue.unavailable", "queue.recovered"]
    assert "guest" not in str(events)
    assert caplog.records == []


async def test_the_trace_of_a_message_is_kept(place: Place, start: Start, path: Path) -> None:
    """In its header or field; a watch's own goes before, and one that is not valid counts for nothing."""
    own, outer = f"00-{'a' * 32}-{'1' * 16}-01", f"00-{'b' * 32}-{'2' * 16}-00"
    await place.publish_traced(b'["1", {"id": "2", "traceparent": "%s"}]' % own.encode(), outer)
    await place.publish_traced(b"3", "nonsense")
    running = start(place.broker())
    await running.tally.wait(accepted=2)
    assert rows(path, "SELECT id, traceparent FROM watches ORDER BY id") == [("1", outer), ("2", own), ("3", None)]
