"""A queue of each kind on a real server, as the producer and the operator see it.

Names are random and deleted at the end; the servers are shared (broker_servers.py) and stay as they are.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractRobustConnection
from broker_servers import broker_url
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from redis.asyncio import Redis

from notifier.inputs.amqp import AmqpBroker
from notifier.inputs.broker import Broker
from notifier.inputs.nats import NatsBroker
from notifier.inputs.redis import RedisBroker


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """A message in the dead-letter queue."""

    body: bytes
    reason: str


class Place(Protocol):
    """One queue."""

    url: str

    async def open(self) -> None:
        """Connect the producer and create the queue."""
        ...

    def broker(self, url: str | None = None) -> Broker[Any]:
        """Return the broker under test; `url` may be that of a proxy before the same server."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return the queue's entry in a configuration."""
        ...

    async def publish_traced(self, body: bytes, traceparent: str) -> None:
        """Publish a message with a trace in its header or field."""
        ...

    async def publish(self, *bodies: bytes) -> None:
        """Send messages, in order, confirmed."""
        ...

    async def take_and_die(self, count: int) -> None:
        """Consume messages and end without acknowledging any."""
        ...

    async def left(self) -> int:
        """Count messages that are not acknowledged; RabbitMQ does not count those that a consumer holds."""
        ...

    async def dead(self) -> list[Dead]:
        """Return the dead messages, oldest first."""
        ...

    async def delete(self) -> None:
        """Delete the queue while consumers read it."""
        ...

    async def close(self) -> None:
        """Delete everything, disconnect."""
        ...


class RedisPlace:
    """A stream with a group."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or broker_url("redis")
        self.stream = f"test:{secrets.token_hex(6)}"
        self.client = Redis.from_url(self.url, protocol=2)

    async def open(self) -> None:
        await self.client.xgroup_create(self.stream, "notifier", id="0", mkstream=True)

    def broker(self, url: str | None = None) -> RedisBroker:
        return RedisBroker(url=url or self.url, stream=self.stream, group="notifier", take_over_after=0.3)

    def settings(self) -> dict[str, Any]:
        return {"url": self.url, "stream": self.stream, "group": "notifier"}

    async def publish(self, *bodies: bytes) -> None:
        async with self.client.pipeline(transaction=False) as pipeline:
            for body in bodies:
                pipeline.xadd(self.stream, {"data": body})
            await pipeline.execute()

    async def publish_traced(self, body: bytes, traceparent: str) -> None:
        await self.client.xadd(self.stream, {"data": body, "traceparent": traceparent})

    async def take_and_die(self, count: int) -> None:
        found: Any = await self.client.xreadgroup("notifier", "mortal", {self.stream: ">"}, count=count)
        assert len(found[0][1]) == count

    async def left(self) -> int:
        group = (await self.client.xinfo_groups(self.stream))[0]
        unread: Any = await self.client.xrange(self.stream, min=b"(" + group["last-delivered-id"])
        return int(group["pending"]) + len(unread)

    async def dead(self) -> list[Dead]:
        entries: Any = await self.client.xrange(f"{self.stream}:dead")
        return [Dead(body=fields[b"data"], reason=fields[b"notifier-reason"].decode()) for _, fields in entries]

    async def delete(self) -> None:
        await self.client.delete(self.stream)

    async def close(self) -> None:
        await self.client.delete(self.stream, f"{self.stream}:dead")
        await self.client.aclose()


class NatsPlace:
    """A stream with a durable consumer."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or broker_url("nats")
        self.stream = f"TEST_{secrets.token_hex(6)}"
        self.subject = f"test.{self.stream}.watches"
        self.client = Client()

    async def open(self) -> None:
        async def unheard(_exc: Exception) -> None:
            """Let the client connect again by itself."""

        await self.client.connect(self.url, error_cb=unheard, reconnect_time_wait=0, max_reconnect_attempts=-1)
        self.js = self.client.jetstream()
        async with self.broker().session():
            pass

    def broker(self, url: str | None = None) -> NatsBroker:
        return NatsBroker(
            url=url or self.url, stream=self.stream, subject=self.subject, durable="notifier", ack_wait=1.0
        )

    def settings(self) -> dict[str, Any]:
        return {"url": self.url, "stream": self.stream, "subject": self.subject, "durable": "notifier"}

    async def publish(self, *bodies: bytes) -> None:
        for start in range(0, len(bodies), 100):
            futures = [await self.js.publish_async(self.subject, body) for body in bodies[start : start + 100]]
            await asyncio.gather(*futures)

    async def publish_traced(self, body: bytes, traceparent: str) -> None:
        await self.js.publish(self.subject, body, headers={"traceparent": traceparent})

    async def take_and_die(self, count: int) -> None:
        mortal = Client()
        await mortal.connect(self.url)
        pulling = await mortal.jetstream().pull_subscribe_bind(durable="notifier", stream=self.stream)
        taken = 0
        while taken < count:
            taken += len(await pulling.fetch(count - taken))
        await mortal.close()

    async def left(self) -> int:
        # Both err on the side of more: the stream may keep, after a kill, what its server knows to be acknowledged, and
        # the consumer counts one twice that was handed to a connection that had just ended.
        kept = (await self.js.stream_info(self.stream)).state.messages
        consumer = await self.js.consumer_info(self.stream, "notifier")
        return min(kept, (consumer.num_pending or 0) + (consumer.num_ack_pending or 0))

    async def dead(self) -> list[Dead]:
        try:
            count = (await self.js.stream_info(f"{self.stream}_DEAD")).state.messages
        except NotFoundError:
            return []
        found = [await self.js.get_msg(f"{self.stream}_DEAD", seq) for seq in range(1, count + 1)]
        return [Dead(body=each.data or b"", reason=(each.headers or {})["Notifier-Reason"]) for each in found]

    async def delete(self) -> None:
        await self.js.delete_stream(self.stream)

    async def close(self) -> None:
        for name in (self.stream, f"{self.stream}_DEAD"):
            try:
                await self.js.delete_stream(name)
            except NotFoundError:
                continue
        await self.client.close()


class AmqpPlace:
    """A durable queue."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or broker_url("amqp")
        self.queue = f"test.{secrets.token_hex(6)}"
        self.connection: AbstractRobustConnection | None = None
        self.channel: AbstractChannel

    async def open(self) -> None:
        self.connection = await aio_pika.connect_robust(self.url)
        self.channel = await self.connection.channel()
        await self.channel.declare_queue(self.queue, durable=True)

    def broker(self, url: str | None = None) -> AmqpBroker:
        return AmqpBroker(url=url or self.url, queue=self.queue)

    def settings(self) -> dict[str, Any]:
        return {"url": self.url, "queue": self.queue}

    async def publish(self, *bodies: bytes) -> None:
        mode = aio_pika.DeliveryMode.PERSISTENT
        for start in range(0, len(bodies), 100):
            await asyncio.gather(
                *(
                    self.channel.default_exchange.publish(aio_pika.Message(body, delivery_mode=mode), self.queue)
                    for body in bodies[start : start + 100]
                )
            )

    async def publish_traced(self, body: bytes, traceparent: str) -> None:
        message = aio_pika.Message(body, headers={"traceparent": traceparent})
        await self.channel.default_exchange.publish(message, self.queue)

    async def take_and_die(self, count: int) -> None:
        mortal = await aio_pika.connect(self.url)
        queue = await (await mortal.channel()).get_queue(self.queue)
        for _ in range(count):
            await queue.get()
        await mortal.close()

    async def left(self) -> int:
        return await self._count(self.queue)

    async def _count(self, name: str) -> int:
        assert self.connection is not None
        async with self.connection.channel() as channel:
            queue = await channel.declare_queue(name, passive=True)
            return queue.declaration_result.message_count or 0

    async def dead(self) -> list[Dead]:
        name = f"{self.queue}.dead"
        assert self.connection is not None
        async with self.connection.channel() as channel:
            try:
                queue = await channel.get_queue(name)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                return []
            found = []
            while message := await queue.get(fail=False):
                found.append(Dead(body=message.body, reason=str(message.headers["x-notifier-reason"])))
            return found  # unacknowledged, so they go back as the channel closes

    async def delete(self) -> None:
        await self.channel.queue_delete(self.queue)

    async def close(self) -> None:
        if self.connection is None:
            return
        async with self.connection.channel() as channel:
            await channel.queue_delete(self.queue)
            await channel.queue_delete(f"{self.queue}.dead")
        await self.connection.close()


KINDS: dict[str, Callable[[], Place]] = {"redis": RedisPlace, "nats": NatsPlace, "amqp": AmqpPlace}


def ids(first: int, count: int) -> Sequence[bytes]:
    """Return bare ids as messages."""
    return [f"task-{number}".encode() for number in range(first, first + count)]
