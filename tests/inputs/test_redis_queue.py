"""What is Redis's alone: entries of fields, the group's consumers, entries that were trimmed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from input_rig import Start
from queue_places import RedisPlace
from redis.asyncio import Redis
from test_queue_contract import rows, stored
from waits import until

from notifier.inputs import redis as adapter
from notifier.inputs.broker import BrokerUnavailable, Message


@pytest.fixture
async def stream() -> AsyncIterator[RedisPlace]:
    """Return a stream without a group."""
    made = RedisPlace()
    yield made
    await made.close()


async def test_entries_from_before_the_group_are_read(stream: RedisPlace, start: Start, path: Path) -> None:
    """A watch's own fields will do, and whatever was added before the first daemon came is not lost."""
    await stream.client.xadd(stream.stream, {"id": "1", "source": "other", "labels": '{"team": "video"}'})
    await stream.client.xadd(stream.stream, {"remove": '{"id": "2"}'})
    running = start(stream.broker())
    await running.tally.wait(accepted=1, removed=1)
    assert rows(path, "SELECT source, id, labels FROM watches") == [("other", "1", '{"team": "video"}')]


async def test_refused_fields_are_kept_as_they_were(stream: RedisPlace, start: Start) -> None:
    """The entry moves with all its fields, the reason and its former id."""
    entry = await stream.client.xadd(stream.stream, {"id": "1", "labels": "{", "more": b"\xff"})
    running = start(stream.broker())
    await running.tally.wait(refused=1)
    entries: Any = await stream.client.xrange(f"{stream.stream}:dead")
    [(_, fields)] = entries
    assert fields.pop(b"notifier-reason").startswith(b"labels: expected JSON")
    assert fields == {b"id": b"1", b"labels": b"{", b"more": b"\xff", b"notifier-entry": entry}


async def test_a_consumer_that_stops_leaves_the_group(stream: RedisPlace, start: Start) -> None:
    """The group does not grow with every restart; a consumer with pending entries stays until they are taken over."""
    await stream.open()
    running = start(stream.broker())
    await stream.publish(b"1")
    await running.tally.wait(accepted=1)
    await running.stop()
    assert await stream.client.xinfo_consumers(stream.stream, "notifier") == []
    broker = stream.broker()
    await stream.publish(b"2")
    async with broker.session() as session:
        assert len(await session.receive()) == 1
    client = broker._client()
    await broker._leave(client)
    await client.aclose()
    [consumer] = await stream.client.xinfo_consumers(stream.stream, "notifier")
    assert consumer["pending"] == 1


async def test_consumers_that_are_long_gone_are_forgotten(
    stream: RedisPlace, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed daemons leave names behind; those that hold nothing go."""
    monkeypatch.setattr(adapter, "FORGET_AFTER", 0.0)
    await stream.open()
    await stream.client.xgroup_createconsumer(stream.stream, "notifier", "gone")
    await stream.publish(b"1")
    await stream.take_and_die(1)
    await stream.publish(b"2")

    async def only_ours() -> bool:
        names = {each["name"] for each in await stream.client.xinfo_consumers(stream.stream, "notifier")}
        return names in ({b"mortal", broker.consumer.encode()}, {broker.consumer.encode()})

    broker = stream.broker()
    running = start(broker)
    await running.tally.wait(accepted=2)
    await until(only_ours, "the name that is gone is forgotten")


async def test_what_a_lost_connection_left_pending_is_read_again_first(
    stream: RedisPlace, start: Start, path: Path
) -> None:
    """The same process need not wait for entries to be idle."""
    await stream.open()
    broker = adapter.RedisBroker(url=stream.url, stream=stream.stream, group="notifier", take_over_after=3600)
    await stream.publish(*(str(n).encode() for n in range(450)))
    async with broker.session() as session:
        assert len(await session.receive()) == 200
        assert len(await session.receive()) == 200
    start(broker)
    await until(lambda: stored(path, 450), "every message is stored")


async def test_entries_trimmed_while_pending_hold_nothing_up(
    stream: RedisPlace, start: Start, events: list[Any]
) -> None:
    """There is nothing to read any more: they are acknowledged, and said to be gone."""
    await stream.open()
    broker = stream.broker()
    await stream.publish(b"1", b"2")
    async with broker.session() as session:
        assert len(await session.receive()) == 2
    await stream.client.xtrim(stream.stream, maxlen=0, approximate=False)
    await stream.publish(b"3")
    running = start(broker)
    await running.tally.wait(accepted=1)
    assert await stream.left() == 0
    assert [(event["event"], event["messages"]) for event in events] == [("queue.messages_gone", 2)]


async def test_a_group_deleted_under_the_reader_is_made_anew(
    stream: RedisPlace, start: Start, events: list[Any]
) -> None:
    """As after FLUSHALL; it is no outage."""
    await stream.open()
    running = start(stream.broker())
    await stream.publish(b"1")
    await running.tally.wait(accepted=1)
    await stream.delete()
    await stream.publish(b"2")
    await running.tally.wait(accepted=2)
    assert {event["event"] for event in events} == {"queue.group_gone"}


async def test_what_others_read_meanwhile_makes_no_group_unusable(
    stream: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry may be added, and read by another node, between two questions about the stream and its group."""
    await stream.open()
    broker = stream.broker()
    asked: list[str] = []

    def then_others_read(name: str) -> None:
        ask = getattr(Redis, name)

        async def answer(self: Redis, *args: Any) -> Any:
            told = await ask(self, *args)
            asked.append(name)
            if len(asked) == 1:
                await stream.publish(b"1")
                await stream.client.xreadgroup("notifier", "another", {stream.stream: ">"})
            return told

        monkeypatch.setattr(Redis, name, answer)

    then_others_read("xinfo_stream")
    then_others_read("xinfo_groups")
    async with broker.session():
        assert sorted(asked) == ["xinfo_groups", "xinfo_stream"]


def test_a_connection_that_breaks_before_a_write_is_an_outage() -> None:
    """On uvloop too, which refuses the write by an error that is no connection's."""

    async def lose() -> None:
        place = RedisPlace()
        try:
            await place.open()
            async with place.broker().session() as session:
                [connection] = session._client.connection_pool._available_connections
                writer: Any = connection._writer
                writer.transport.abort()
                await session.acknowledge([Message(content=b"", receipt=b"0-1")])
        finally:
            await place.close()

    with pytest.raises(BrokerUnavailable):
        uvloop.run(lose())


async def test_a_key_of_another_kind_is_told_with_advice(stream: RedisPlace, start: Start, events: list[Any]) -> None:
    """The stream's key may hold something else."""
    await stream.client.set(stream.stream, "text")
    start(stream.broker())

    async def told() -> bool:
        return bool(events)

    await until(told, "it is told")
    assert events[0]["event"] == "queue.unavailable"
    assert "name another stream" in events[0]["hint"]
