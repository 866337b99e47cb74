"""A NATS JetStream stream, read by a durable pull consumer, which several daemons may share.

Messages are pulled in batches, and delivered again if they are not acknowledged in time (`ack_wait`). Refused messages
are kept in a stream of their own, `<STREAM>_DEAD`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit, urlunsplit

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import AuthorizationError, Error, InvalidUserCredentialsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig
from nats.js.errors import NoStreamResponseError, NotFoundError

from notifier.inputs import limits
from notifier.inputs.broker import (
    CREDENTIALS,
    BrokerUnavailable,
    Message,
    NotSetAside,
    QueueUnusable,
    close_in_time,
    describe,
)

ACK_WAIT = 30.0  # seconds after which an unacknowledged message is delivered again, to any daemon
EXPIRES = 20.0  # seconds that the server keeps a request for messages
COME_AGAIN = 300.0  # seconds until a message returns that can neither be stored nor kept elsewhere
PING = 10  # seconds between pings; two missing answers end the connection


class NatsBroker:
    """One stream, subject and durable consumer."""

    def __init__(self, *, url: str, stream: str, subject: str, durable: str, ack_wait: float = ACK_WAIT) -> None:
        """Take the seconds that a new consumer waits for an acknowledgement (`ack_wait`)."""
        self.name = f"nats:{stream}"
        self.stream = stream
        self.subject = subject
        self.durable = durable
        self.ack_wait = ack_wait
        self.dead = f"{stream}_DEAD"
        self.dead_subject = f"{stream}.dead"
        self._url = url

    @asynccontextmanager
    async def session(self) -> AsyncIterator[NatsSession]:
        """Connect; create the stream and the consumer if they do not exist."""
        client = Client()
        causes: list[Exception] = []
        session: NatsSession | None = None
        try:
            await self._connect(client, causes)
            session = await self._open(client)
            yield session
        except (Error, OSError, TimeoutError) as exc:
            cause = causes[-1] if causes else exc
            raise BrokerUnavailable(describe(cause, self._url), hint=_hint(cause)) from exc
        finally:
            await close_in_time(self._leave(client, session))

    async def _leave(self, client: Client, session: NatsSession | None) -> None:
        try:
            if session is not None:
                await session.release()
        finally:
            await client.close()

    async def _connect(self, client: Client, causes: list[Exception]) -> None:
        async def note(exc: Exception) -> None:
            del causes[:-1]  # the library reports the cause here, and raises the consequence
            causes.append(exc)

        parts = urlsplit(self._url)
        user, password = unquote(parts.username or "") or None, parts.password
        async with asyncio.timeout(limits.CONNECT):
            await client.connect(
                urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])),
                name="notifier",
                user=user if password is not None else None,
                password=unquote(password) if password is not None else None,
                token=user if password is None else None,
                allow_reconnect=False,  # the consumer reconnects, and recreates objects that the server may have lost
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                ping_interval=PING,
                error_cb=note,
            )
        causes.clear()

    async def _open(self, client: Client) -> NatsSession:
        stream = client.jetstream(timeout=limits.ANSWER)
        try:
            subjects = _subjects((await stream.stream_info(self.stream)).config)
        except NotFoundError:  # our own stream need not keep acknowledged messages
            await stream.add_stream(name=self.stream, subjects=[self.subject], retention=RetentionPolicy.WORK_QUEUE)
            subjects = [self.subject]
        wanted = self._wanted(subjects)
        try:
            self._check((await stream.consumer_info(self.stream, self.durable)).config, wanted)
        except NotFoundError:
            config = ConsumerConfig(
                durable_name=self.durable,
                filter_subject=self.subject,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=self.ack_wait,
                max_ack_pending=4 * limits.BATCH,
            )
            await stream.add_consumer(self.stream, config)
        inbox = client.new_inbox()
        return NatsSession(self, client, stream, await client.subscribe(inbox), inbox)

    def _wanted(self, subjects: Sequence[str]) -> list[str]:
        """Return the subjects that the stream takes and the configuration names. Raises QueueUnusable for none."""
        wanted = [each if covers(self.subject, each) else self.subject for each in subjects if meet(self.subject, each)]
        if not wanted:
            raise QueueUnusable(
                f"the stream {self.stream} takes {_listed(subjects)}, and so nothing of {self.subject}",
                hint="correct the queue's `subject` or `stream`, or add the subject to the stream",
            )
        return wanted

    def _check(self, config: ConsumerConfig, wanted: Sequence[str]) -> None:
        """Raise QueueUnusable for a consumer that brings not every wanted subject, or loses messages."""
        if config.ack_policy != AckPolicy.EXPLICIT:
            raise QueueUnusable(
                f"the consumer {self.durable} acknowledges by policy `{config.ack_policy}`, which loses messages",
                hint="name another durable, or create that one with the ack policy `explicit`",
            )
        if config.deliver_subject:
            raise QueueUnusable(
                f"the consumer {self.durable} pushes its messages to {config.deliver_subject}",
                hint="name another durable, or create that one as a pull consumer",
            )
        filters = config.filter_subjects or ([config.filter_subject] if config.filter_subject else [])
        missing = [subject for subject in wanted if not any(covers(each, subject) for each in filters)]
        if filters and missing:
            raise QueueUnusable(
                f"the consumer {self.durable} reads {_listed(filters)}, and so nothing of {_listed(missing)}",
                hint="name another durable, or change the filter of that one (nats consumer edit)",
            )


class NatsSession:
    """One connection. `NatsBroker.session` translates the library's errors."""

    def __init__(
        self, broker: NatsBroker, client: Client, stream: JetStreamContext, replies: Subscription, inbox: str
    ) -> None:
        self._broker = broker
        self._client = client
        self._stream = stream
        self._replies = replies
        self._inbox = inbox
        self._asked = 0  # messages that the server may still send for our last request
        self._until = 0.0  # loop time at which that request ends
        self._held: dict[str, Msg] = {}  # unsettled messages by their reply subject

    async def receive(self) -> Sequence[Message[Msg]]:
        """Request a batch, and return the messages that have arrived."""
        now = asyncio.get_running_loop().time()
        if self._asked <= 0 or now > self._until:
            await self._ask()
        batch: list[Message[Msg]] = []
        try:
            while len(batch) < limits.BATCH and (not batch or self._replies.pending_msgs):
                reply = await self._replies.next_msg(timeout=limits.POLL)
                if reply.reply:
                    self._asked -= 1
                    self._held[reply.reply] = reply
                    trace = (reply.headers or {}).get("traceparent")
                    batch.append(Message(content=reply.data, receipt=reply, traceparent=trace))
                else:
                    self._on_status(reply.headers or {})
                    break
        except NatsTimeout:
            pass  # no new message
        return batch

    async def acknowledge(self, messages: Sequence[Message[Msg]]) -> None:
        """Acknowledge; return once the server has received it."""
        for message in messages:
            await message.receipt.ack()
        await self._client.flush(timeout=round(limits.ANSWER))
        for message in messages:
            self._held.pop(message.receipt.reply, None)

    async def set_aside(self, message: Message[Msg], reason: str) -> None:
        """Publish the message to the stream `<STREAM>_DEAD`, with its headers and the reason, then acknowledge it."""
        msg = message.receipt
        headers = dict(msg.headers or {}) | {
            "Notifier-Reason": reason.encode("ascii", "backslashreplace").decode()[: limits.MAX_REASON],
            "Notifier-Subject": msg.subject,
        }
        headers.pop("Nats-Msg-Id", None)  # with it, the server would drop a second refusal as a duplicate
        try:
            await self._keep(msg.data, headers)
        except Error as exc:
            if self._client.is_closed:
                raise
            await msg.nak(delay=COME_AGAIN)
            self._held.pop(msg.reply, None)
            raise NotSetAside(describe(exc, "")) from exc
        await self.acknowledge([message])

    async def release(self) -> None:
        """Let other consumers have unsettled messages at once."""
        if not self._client.is_closed:
            await self._replies.unsubscribe()  # otherwise our own request would receive them again
        while self._replies.pending_msgs and not self._client.is_closed:
            reply = await self._replies.next_msg(timeout=limits.POLL)
            if reply.reply:
                self._held[reply.reply] = reply
        for msg in self._held.values():
            if not msg.is_acked and not self._client.is_closed:  # an acknowledgement may not have reached the server
                await msg.nak()

    async def _ask(self) -> None:
        broker = self._broker
        request = {"batch": limits.BATCH, "expires": round(EXPIRES * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{broker.stream}.{broker.durable}"
        await self._client.publish(subject, json.dumps(request).encode(), reply=self._inbox)
        self._asked, self._until = limits.BATCH, asyncio.get_running_loop().time() + EXPIRES + limits.ANSWER

    def _on_status(self, status: dict[str, str]) -> None:
        """Act on the server's status of our request. Raises BrokerUnavailable."""
        match status.get("Status"):
            case "100":
                return  # a heartbeat
            case "404" | "408":
                self._asked = 0  # the request is over
            case code:
                reason = status.get("Description", "the consumer is gone" if code == "503" else "no reason given")
                raise BrokerUnavailable(f"the server ended the request for messages: {reason}")

    async def _keep(self, data: bytes, headers: dict[str, str]) -> None:
        broker = self._broker
        try:
            await self._stream.publish(broker.dead_subject, data, headers=headers)
        except NoStreamResponseError:
            await self._stream.add_stream(name=broker.dead, subjects=[broker.dead_subject])
            await self._stream.publish(broker.dead_subject, data, headers=headers)


def covers(pattern: str, subject: str) -> bool:
    """Return whether a subject with wildcards contains every subject of another.

    https://docs.nats.io/nats-concepts/subjects#wildcards
    """
    theirs = subject.split(".")
    for position, token in enumerate(pattern.split(".")):
        if token == ">":
            return position < len(theirs)
        if position == len(theirs) or theirs[position] == ">" or token not in ("*", theirs[position]):
            return False
    return len(pattern.split(".")) == len(theirs)


def meet(one: str, other: str) -> bool:
    """Return whether a message can have a subject of both."""
    for left, right in zip(one.split("."), other.split("."), strict=False):
        if ">" in (left, right):
            return True
        if left != right and "*" not in (left, right):
            return False
    return one.count(".") == other.count(".")


def _subjects(config: StreamConfig) -> list[str]:
    """Return the subjects that a stream takes; a stream that copies others may take any."""
    return [">"] if config.mirror or config.sources else list(config.subjects or [])


def _listed(subjects: Sequence[str]) -> str:
    return ", ".join(subjects) or "no subject"


def _hint(exc: BaseException) -> str | None:
    text = str(exc).lower()
    if isinstance(exc, AuthorizationError | InvalidUserCredentialsError) or "authorization" in text:
        return CREDENTIALS
    if "permissions violation" in text:
        return "allow the user the JetStream API ($JS.API.>), $JS.ACK.> and its inbox"
    if "no responders" in text or "jetstream not enabled" in text or "serviceunavailable" in text:
        return "is JetStream enabled on the server (nats-server -js)?"
    return None
