"""Brokers that ask for a password or withhold a permission: told with advice, and nothing is lost by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from broker_ways import OwnServer
from input_rig import Start
from ports import free_port
from queue_places import RedisPlace
from test_queue_contract import rows
from waits import until

from notifier.inputs.nats import NatsBroker
from notifier.inputs.redis import RedisBroker

SECRET = "s%40cret"  # as in a URL; s@cret in itself
CREDENTIALS = "check the user and password in the queue's url"


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisPlace]:
    """Return a stream on a Redis with a password."""
    port = free_port()
    server = OwnServer.redis(tmp_path, port, "--requirepass", "s@cret")
    await server.start()
    place = RedisPlace(f"redis://:{SECRET}@127.0.0.1:{port}")
    await place.open()
    yield place
    await place.close()
    await server.stop()


async def first(events: list[Any]) -> dict[str, Any]:
    """Return the first event that is logged."""

    async def said() -> bool:
        return bool(events)

    await until(said, "something is logged")
    event: dict[str, Any] = events[0]
    return event


@pytest.mark.parametrize("user", [":wr0ng@", ""])
async def test_redis_refuses_a_wrong_password(redis: RedisPlace, user: str, start: Start, events: list[Any]) -> None:
    """A wrong one, or none."""
    start(RedisBroker(url=redis.url.replace(f":{SECRET}@", user), stream=redis.stream, group="notifier"))
    event = await first(events)
    assert event["event"] == "queue.unavailable"
    assert event["hint"] == CREDENTIALS
    assert "wr0ng" not in str(events)


async def test_a_message_that_cannot_be_set_aside_stays(
    redis: RedisPlace, start: Start, path: Path, events: list[Any]
) -> None:
    """A user who may not write to `<stream>:dead` loses no message, and the others go on."""
    await redis.client.acl_setuser("small", enabled=True, passwords=["+pw"], keys=[redis.stream], commands=["+@all"])
    await redis.publish(b"1", b"{", b"2")
    running = start(redis.broker(redis.url.replace(f":{SECRET}@", "small:pw@")))
    await running.tally.wait(accepted=2)
    event = await first(events)
    assert event["event"] == "queue.not_set_aside"
    await redis.publish(b"3")
    await running.tally.wait(accepted=3)
    assert [id_ for _, id_, _ in rows(path)] == ["1", "2", "3"]
    assert await redis.left() == 1
    assert running.tally.counts["refused"] == 0
    await redis.client.acl_setuser("small", keys=[f"{redis.stream}:dead"])
    await running.tally.wait(refused=1)
    assert [each.body for each in await redis.dead()] == [b"{"]


async def test_nats_refuses_a_wrong_password(tmp_path: Path, start: Start, events: list[Any]) -> None:
    """The right one, with a character that a URL must escape, is taken."""
    port = free_port()
    server = OwnServer.nats(tmp_path, port, "--user", "me", "--pass", "s@cret")
    await server.start()

    def broker(password: str) -> NatsBroker:
        return NatsBroker(url=f"nats://me:{password}@127.0.0.1:{port}", stream="S", subject="s", durable="d")

    wrong = start(broker("wr0ng"))
    event = await first(events)
    assert event["event"] == "queue.unavailable"
    assert event["hint"] == CREDENTIALS
    assert "wr0ng" not in str(events)
    await wrong.stop()
    async with broker(SECRET).session() as session:
        assert await session.receive() == []
    await server.stop()


async def test_nats_without_jetstream_is_told_with_advice(tmp_path: Path, start: Start, events: list[Any]) -> None:
    """It is the commonest way to start a server wrongly."""
    port = free_port()
    server = OwnServer(["nats-server", "-a", "127.0.0.1", "-p", str(port)], port)
    await server.start()
    start(NatsBroker(url=f"nats://127.0.0.1:{port}", stream="S", subject="s", durable="d"))
    event = await first(events)
    assert event["event"] == "queue.unavailable"
    assert "JetStream" in event["hint"]
    await server.stop()
