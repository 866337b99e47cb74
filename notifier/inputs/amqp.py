"""An AMQP 0-9-1 queue, as of RabbitMQ; the broker gives the messages of a dead consumer to another.

Refused messages go to the queue `<queue>.dead`; the broker confirms them before they are acknowledged. The broker's own
dead-lettering is not used: a client cannot ask whether a queue has it, or whether anything is bound to its exchange.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ProbableAuthenticationError,
)
from yarl import URL

from notifier.core.errors import NotifierError
from notifier.inputs import limits
from notifier.inputs.broker import CREDENTIALS, BrokerUnavailable, Message, NotSetAside, close_in_time, describe

HEARTBEAT = 10  # seconds; three missing ones end the connection
LOST = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)

# The libraries log each lost connection with a traceback; the consumer logs it in one line.
for _name in ("aio_pika", "aiormq"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

Inbox = asyncio.Queue[AbstractIncomingMessage | BrokerUnavailable]


class AmqpBroker:
    """One queue."""

    def __init__(self, *, url: str, queue: str) -> None:
        """Raise NotifierError for a URL that cannot be used."""
        self.name = f"amqp:{queue}"
        self.queue = queue
        self.dead = f"{queue}.dead"
        self._url = url
        try:
            parsed = URL(url)
        except ValueError as exc:
            raise NotifierError(f"the url of the queue {self.name} cannot be used: {describe(exc, url)}") from exc
        self._address = parsed if "heartbeat" in parsed.query else parsed.update_query(heartbeat=HEARTBEAT)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AmqpSession]:
        """Connect; declare the queue if it does not exist."""
        # Not by `aio_pika.connect`: nobody can close the connection that it failed to open. Its destructor creates a
        # coroutine for that, which is never awaited if another thread collects it.
        connection = aio_pika.Connection(self._address, client_properties={"connection_name": "notifier"})
        try:
            await connection.connect(timeout=limits.CONNECT)
            yield await self._open(connection)
        except NotifierError:
            raise  # one of ours, already in one line
        except Exception as exc:
            # When a connection is lost, aiormq's tasks raise many kinds of errors, even a bare `Exception`
            # (FutureStore.reject_all). So unless the error is known, the state of the connection decides.
            if not isinstance(exc, LOST) and _works(connection):
                raise
            raise BrokerUnavailable(_describe(exc, self._url), hint=_hint(exc)) from exc
        finally:
            await close_in_time(connection.close())

    async def _open(self, connection: AbstractConnection) -> AmqpSession:
        await declare(connection, self.queue)
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=limits.BATCH)
        inbox: Inbox = asyncio.Queue()  # the broker sends at most the prefetch count unacknowledged
        ended = BrokerUnavailable("the broker ended our subscription; was the queue deleted?")

        def closed(_channel: object, exc: BaseException | None) -> None:
            inbox.put_nowait(BrokerUnavailable(describe(exc, self._url)) if exc else ended)

        channel.close_callbacks.add(closed)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _frame: inbox.put_nowait(ended))
        queue = await channel.get_queue(self.queue, ensure=False)
        await queue.consume(inbox.put, timeout=limits.ANSWER)
        return AmqpSession(self, connection, inbox)


class AmqpSession:
    """One connection. `AmqpBroker.session` translates the library's errors."""

    def __init__(self, broker: AmqpBroker, connection: AbstractConnection, inbox: Inbox) -> None:
        self._broker = broker
        self._connection = connection
        self._inbox = inbox
        self._publishing: AbstractChannel | None = None

    async def receive(self) -> Sequence[Message[AbstractIncomingMessage]]:
        """Return the messages that have arrived."""
        try:
            async with asyncio.timeout(limits.POLL):
                arrived = [_message(await self._inbox.get())]
        except TimeoutError:
            return []
        while len(arrived) < limits.BATCH and not self._inbox.empty():
            arrived.append(_message(self._inbox.get_nowait()))
        return [
            Message(content=message.body, receipt=message, traceparent=_traceparent(message)) for message in arrived
        ]

    async def acknowledge(self, messages: Sequence[Message[AbstractIncomingMessage]]) -> None:
        """Acknowledge."""
        for message in messages:
            await message.receipt.ack()

    async def set_aside(self, message: Message[AbstractIncomingMessage], reason: str) -> None:
        """Publish the message to `<queue>.dead` with its properties and the reason, then acknowledge it."""
        old = message.receipt
        copy = aio_pika.Message(
            old.body,
            headers=dict(old.headers) | {"x-notifier-reason": reason[: limits.MAX_REASON]},
            content_type=old.content_type,
            content_encoding=old.content_encoding,
            correlation_id=old.correlation_id,
            message_id=old.message_id,
            timestamp=old.timestamp,
            type=old.type,
            app_id=old.app_id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        try:
            channel = await self._dead_channel()
            await channel.default_exchange.publish(copy, self._broker.dead, mandatory=True, timeout=limits.ANSWER)
        except LOST as exc:
            self._publishing = None
            if not _works(self._connection):
                raise
            raise NotSetAside(describe(exc, "")) from exc
        await old.ack()

    async def _dead_channel(self) -> AbstractChannel:
        """Return a channel for refused messages alone, since the broker closes a channel with each error."""
        if self._publishing is None or self._publishing.is_closed:
            await declare(self._connection, self._broker.dead)
            self._publishing = await self._connection.channel(on_return_raises=True)
        return self._publishing


async def declare(connection: AbstractConnection, name: str) -> AbstractQueue:
    """Declare a durable queue, unless there is one of any kind."""
    try:
        async with connection.channel() as channel:
            return await channel.declare_queue(name, passive=True, timeout=limits.ANSWER)
    except ChannelNotFoundEntity:
        async with connection.channel() as channel:
            return await channel.declare_queue(name, durable=True, timeout=limits.ANSWER)


def _works(connection: AbstractConnection) -> bool:
    """Return whether the connection is open; it is closed before its end reaches the calls under way."""
    return connection.transport is not None and connection.transport.connection.is_opened


def _describe(exc: Exception, url: str) -> str:
    if isinstance(exc, LOST):
        return describe(exc, url)
    if type(exc) is Exception:  # aiormq's error for an end without a reason
        return "the connection was lost"
    return f"the connection was lost ({type(exc).__name__}: {describe(exc, url)})"


def _message(item: AbstractIncomingMessage | BrokerUnavailable) -> AbstractIncomingMessage:
    if isinstance(item, BrokerUnavailable):
        raise item
    return item


def _hint(exc: BaseException) -> str | None:
    if isinstance(exc, AuthenticationError | ProbableAuthenticationError) or "ACCESS_REFUSED - Login" in str(exc):
        return CREDENTIALS
    text = str(exc)
    if "exclusive" in text:  # RabbitMQ: "in exclusive use", "cannot obtain exclusive access to locked queue"
        return "another consumer or connection has the queue for itself; end that one, or name another queue"
    if "ACCESS_REFUSED" in text:
        return "allow the user to configure and read the queue, and to configure and write <queue>.dead"
    if "vhost" in text:
        return "check the virtual host, the path of the queue's url"
    return None


def _traceparent(message: AbstractIncomingMessage) -> str | None:
    match (message.headers or {}).get("traceparent"):
        case bytes() as value:
            return value.decode("utf-8", "replace")
        case str() as value:
            return value
        case _:
            return None
