"""A queue that is configured and can bring nothing is logged in words, and read once it is put right."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest
from input_rig import Start
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig, StreamSource
from queue_places import AmqpPlace, NatsPlace, RedisPlace
from waits import until

from notifier.inputs.nats import NatsBroker, covers, meet


@pytest.fixture
async def nats() -> AsyncIterator[NatsPlace]:
    """Return a NATS stream of a test's own."""
    place = NatsPlace()
    await place.open()
    yield place
    await place.close()


@pytest.fixture
async def stream() -> AsyncIterator[RedisPlace]:
    """Return a Redis stream of a test's own."""
    place = RedisPlace()
    await place.open()
    yield place
    await place.close()


@pytest.fixture
async def queue() -> AsyncIterator[AmqpPlace]:
    """Return a RabbitMQ queue of a test's own."""
    place = AmqpPlace()
    await place.open()
    yield place
    await place.close()


async def logged(events: list[Any], event: str) -> dict[str, Any]:
    """Return the first event of that name, once it is logged."""
    await until(lambda: any(each["event"] == event for each in events), f"{event} is logged")
    record: dict[str, Any] = next(each for each in events if each["event"] == event)
    return record


async def recreate(place: NatsPlace, *subjects: str) -> None:
    """Replace the stream by one of these subjects."""
    await place.delete()
    await place.js.add_stream(StreamConfig(name=place.stream, subjects=list(subjects)))


def broker(place: NatsPlace, subject: str, durable: str = "notifier") -> NatsBroker:
    return NatsBroker(url=place.url, stream=place.stream, subject=subject, durable=durable)


async def test_a_nats_consumer_of_another_subject(nats: NatsPlace, start: Start, events: list[Any]) -> None:
    """As after a change of `subject`: the durable still reads the old one, and it is said once."""
    base = f"test.{nats.stream}"
    await recreate(nats, f"{base}.>")
    async with nats.broker().session():
        pass  # the consumer is there
    running = start(broker(nats, f"{base}.other"))
    await nats.js.publish(f"{base}.other", b"1")
    record = await logged(events, "queue.unusable")
    assert record["error"] == f"the consumer notifier reads {nats.subject}, and so nothing of {base}.other"
    assert "durable" in record["hint"]
    await nats.js.delete_consumer(nats.stream, "notifier")
    await running.tally.wait(accepted=1)
    assert [event["event"] for event in events] == ["queue.unusable", "queue.recovered"]


async def test_a_nats_stream_without_the_subject(nats: NatsPlace, start: Start, events: list[Any]) -> None:
    """A consumer could be created, and would wait for ever."""
    start(broker(nats, "elsewhere.watches", "new"))
    record = await logged(events, "queue.unusable")
    assert record["error"] == f"the stream {nats.stream} takes {nats.subject}, and so nothing of elsewhere.watches"


async def test_a_nats_consumer_that_brings_a_part(nats: NatsPlace, start: Start, events: list[Any]) -> None:
    """What it leaves out is named."""
    base = f"test.{nats.stream}"
    await recreate(nats, nats.subject, f"{base}.more")
    async with nats.broker().session():
        pass  # the consumer is there
    start(broker(nats, f"{base}.*"))
    record = await logged(events, "queue.unusable")
    assert record["error"].endswith(f"reads {nats.subject}, and so nothing of {base}.more")


async def test_a_nats_consumer_that_pushes(nats: NatsPlace, start: Start, events: list[Any]) -> None:
    """Its messages go elsewhere."""
    config = ConsumerConfig(durable_name="pushes", deliver_subject="somewhere", ack_policy=AckPolicy.EXPLICIT)
    await nats.js.delete_consumer(nats.stream, "notifier")  # a work queue has one consumer for a subject
    await nats.js.add_consumer(nats.stream, config)
    start(broker(nats, nats.subject, "pushes"))
    record = await logged(events, "queue.unusable")
    assert record["error"] == "the consumer pushes pushes its messages to somewhere"


@pytest.mark.parametrize("filters", [[], [">"], ["test.>"], ["test.*.watches", "other"]])
async def test_a_nats_consumer_that_brings_more_is_read(
    nats: NatsPlace, start: Start, events: list[Any], filters: list[str]
) -> None:
    """Whoever created it may have others in mind as well."""
    await recreate(nats, nats.subject, f"other.{nats.stream}")
    wide = [each.replace("other", f"other.{nats.stream}") for each in filters]
    config = ConsumerConfig(durable_name="wide", ack_policy=AckPolicy.EXPLICIT, filter_subjects=wide or None)
    await nats.js.add_consumer(nats.stream, config)
    running = start(broker(nats, nats.subject, "wide"))
    await nats.publish(b"1")
    await running.tally.wait(accepted=1)
    assert not events


async def test_a_nats_stream_that_copies_another_is_read(nats: NatsPlace, start: Start, events: list[Any]) -> None:
    """It takes no subjects itself; its messages keep theirs."""
    copy = f"{nats.stream}_COPY"
    work = f"{nats.stream}_WORK"
    subject = f"copy.{nats.stream}"
    await nats.js.add_stream(StreamConfig(name=work, subjects=[subject]))
    await nats.js.add_stream(StreamConfig(name=copy, sources=[StreamSource(name=work)]))
    running = start(NatsBroker(url=nats.url, stream=copy, subject=subject, durable="notifier"))
    await nats.js.publish(subject, b"1")
    await running.tally.wait(accepted=1)
    assert not events
    await nats.js.delete_stream(copy)
    await nats.js.delete_stream(work)


async def test_a_redis_group_beyond_the_stream(stream: RedisPlace, start: Start, events: list[Any]) -> None:
    """Set by hand, or of a stream that was restored: new entries have lower ids than those that it has read."""
    await stream.publish(b"1")
    async with stream.broker().session():
        pass  # the group is there
    await stream.client.xgroup_setid(stream.stream, "notifier", "9999999999999-0")
    running = start(stream.broker())
    record = await logged(events, "queue.unusable")
    assert record["error"].startswith("the group notifier has read up to 9999999999999-0, beyond the last entry")
    assert "XGROUP SETID" in record["hint"]
    await stream.client.xgroup_setid(stream.stream, "notifier", "0")
    await running.tally.wait(accepted=1)
    assert [event["event"] for event in events] == ["queue.unusable", "queue.recovered"]


async def test_a_rabbitmq_queue_that_another_reads_alone(queue: AmqpPlace, start: Start, events: list[Any]) -> None:
    """It is told with advice; once the other is gone, the queue is read."""
    await queue.publish(b"1")
    owner = await aio_pika.connect(queue.url)
    channel = await owner.channel()
    taken = await channel.get_queue(queue.queue)

    async def ignore(_message: object) -> None:
        """Keep what comes."""

    await taken.consume(ignore, exclusive=True)
    running = start(queue.broker())
    record = await logged(events, "queue.unavailable")
    assert "exclusive" in record["error"]
    assert "another consumer" in record["hint"]
    await owner.close()
    await running.tally.wait(accepted=1)


async def test_a_rabbitmq_queue_that_belongs_to_another_connection(
    queue: AmqpPlace, start: Start, events: list[Any]
) -> None:
    """An exclusive queue is its connection's alone, and goes with it."""
    await queue.delete()
    queue.queue = f"test.{secrets.token_hex(6)}"
    owner = await aio_pika.connect(queue.url)
    await (await owner.channel()).declare_queue(queue.queue, exclusive=True)
    start(queue.broker())
    record = await logged(events, "queue.unavailable")
    assert "another consumer or connection" in record["hint"]
    await owner.close()


@pytest.mark.parametrize(
    ("pattern", "subject", "contains"),
    [
        ("a.b", "a.b", True), ("a.b", "a.c", False), ("a.*", "a.b", True), ("a.*", "a.*", True), ("a.b", "a.*", False),
        ("a.>", "a.b.c", True), ("a.>", "a.*", True), ("a.>", "a.>", True), ("a.>", "a", False), (">", "a.>", True),
        ("a.*", "a.>", False), ("*.*", "a", False), ("a", "a.b", False), ("*.b", "a.b", True),
        ("a.*.c", "a.b.d", False),
    ],
)  # fmt: skip
def test_covers(pattern: str, subject: str, contains: bool) -> None:
    assert covers(pattern, subject) is contains


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ("a.b", "a.b", True), ("a.b", "a.c", False), ("a.*", "*.b", True), ("a.>", "a.b.c", True), ("a.>", "a", False),
        ("a.*", "a.b.c", False), (">", "x", True), ("a.*.c", "a.b.>", True), ("a.b", "a", False),
    ],
)  # fmt: skip
def test_meet(one: str, other: str, common: bool) -> None:
    assert meet(one, other) is common
    assert meet(other, one) is common
