"""A Redis stream, read as a consumer group.

Entries of dead consumers are claimed once they have been idle for a while. Entries of our own that a lost connection
left pending are read again first. Acknowledged entries stay in the stream: its owner trims it, since other groups may
read it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from notifier.core.errors import NotifierError
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

log = structlog.get_logger(__name__)

TAKE_OVER_AFTER = 20.0  # seconds that an entry stays pending before another consumer claims it; far above a commit
FORGET_AFTER = 3600.0  # idle seconds after which a consumer without pending entries is removed from the group
START = "0"
UVLOOP_CLOSED = "the handler is closed"  # of a write to a connection that has just broken; asyncio's own loop drops it

# Deleting a consumer drops its pending entries (XGROUP DELCONSUMER), so checking and deleting must be one step.
_FORGET = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
    return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return 0
"""

Fields = Mapping[bytes, bytes]


class RedisBroker:
    """One stream and group."""

    def __init__(self, *, url: str, stream: str, group: str, take_over_after: float = TAKE_OVER_AFTER) -> None:
        """Raise NotifierError for a URL that cannot be used. `take_over_after`: seconds."""
        self.name = f"redis:{stream}"
        self.stream = stream
        self.dead = f"{stream}:dead"
        self.group = group
        self.take_over_after = take_over_after
        self.consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._url = url
        try:
            self._client()
        except ValueError as exc:
            raise NotifierError(f"the url of the queue {self.name} cannot be used: {describe(exc, url)}") from exc

    def _client(self) -> Redis:
        # The library must not retry: a repeated read would leave the entries of the first one pending.
        return Redis.from_url(
            self._url,
            protocol=2,  # its replies have the same form in every version of the library
            socket_connect_timeout=limits.CONNECT,
            socket_timeout=limits.POLL + limits.ANSWER,
            retry=Retry(NoBackoff(), 0),
            client_name="notifier",
        )

    @asynccontextmanager
    async def session(self) -> AsyncIterator[RedisSession]:
        """Connect; create the stream and the group if they do not exist."""
        client = self._client()
        try:
            with self._translated():
                session = RedisSession(self, client)
                await session.prepare()
                yield session
        except asyncio.CancelledError:
            await close_in_time(self._leave(client))
            raise
        finally:
            await close_in_time(client.aclose())

    async def _leave(self, client: Redis) -> None:
        """Remove our consumer from the group, unless it has pending entries, which others will claim."""
        await client.connection_pool.disconnect()  # its reader may be in the middle of a reply
        await client.eval(_FORGET, 1, self.stream, self.group, self.consumer)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as exc:
            raise BrokerUnavailable(describe(exc, self._url), hint=_hint(exc)) from exc
        except RuntimeError as exc:
            if UVLOOP_CLOSED not in str(exc):
                raise
            raise BrokerUnavailable("the connection was lost") from exc


class RedisSession:
    """One connection. `RedisBroker.session` translates the library's errors."""

    def __init__(self, broker: RedisBroker, client: Redis) -> None:
        self._broker = broker
        self._client = client
        self._own: str | bytes | None = START  # position in our own pending entries; None: all were read again
        self._idle: str | bytes = START  # position in the idle entries of other consumers
        self._look_at = 0.0  # loop time of the next such look

    async def prepare(self) -> None:
        """Create missing objects; remove consumers that are long gone. Raises QueueUnusable."""
        await self._make_group()
        broker = self._broker
        with contextlib.suppress(NoPermissionError):  # the user need not be allowed XINFO
            await self._check_position()
        with contextlib.suppress(ResponseError):  # tidying; the user may lack the permission
            for consumer in await self._client.xinfo_consumers(broker.stream, broker.group):
                if consumer["pending"] == 0 and consumer["idle"] > FORGET_AFTER * 1000:
                    await self._client.eval(_FORGET, 1, broker.stream, broker.group, consumer["name"])

    async def receive(self) -> Sequence[Message[bytes]]:
        """Return our own pending entries, then those that others left, then new ones."""
        try:
            entries = await self._own_pending()
            entries = entries or await self._left_by_others()
            entries = entries or await self._read(">", block=round(limits.POLL * 1000))
        except ResponseError as exc:
            if not str(exc).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            log.warning(
                "queue.group_gone", queue=self._broker.name, hint="the stream or group was deleted; it is created again"
            )
            await self._make_group()
            return []
        gone = [entry for entry, fields in entries if not fields]
        if gone:  # pending, but deleted from the stream
            log.warning("queue.messages_gone", queue=self._broker.name, messages=len(gone), hint="trimmed while unread")
            await self._acknowledge(gone)
        return [
            Message(content=_content(fields), receipt=entry, traceparent=_traceparent(fields))
            for entry, fields in entries
            if fields
        ]

    async def acknowledge(self, messages: Sequence[Message[bytes]]) -> None:
        """Acknowledge."""
        await self._acknowledge([message.receipt for message in messages])

    async def set_aside(self, message: Message[bytes], reason: str) -> None:
        """Move the entry to the stream `<stream>:dead`, with all its fields, the reason and its former id."""
        broker, content = self._broker, message.content
        fields: dict[Any, Any] = {"data": content} if isinstance(content, bytes) else dict(content)
        fields |= {"notifier-reason": reason[: limits.MAX_REASON], "notifier-entry": message.receipt}
        try:
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.xadd(broker.dead, fields)
                pipeline.xack(broker.stream, broker.group, message.receipt)
                await pipeline.execute()
        except ResponseError as exc:
            raise NotSetAside(describe(exc, "")) from exc

    async def _make_group(self) -> None:
        try:
            await self._client.xgroup_create(self._broker.stream, self._broker.group, id=START, mkstream=True)
        except ResponseError as exc:
            if not str(exc).startswith("BUSYGROUP"):  # it exists already
                raise
        self._own, self._idle, self._look_at = START, START, 0.0

    async def _check_position(self) -> None:
        """Raise QueueUnusable if the group is beyond the stream's end: entries up to there never reach it.

        The group is asked first: other consumers of it may read what is added between the two questions.
        """
        broker = self._broker
        groups = await self._client.xinfo_groups(broker.stream)
        last = (await self._client.xinfo_stream(broker.stream))["last-generated-id"]
        for group in groups:
            if group["name"] == broker.group.encode() and _position(group["last-delivered-id"]) > _position(last):
                raise QueueUnusable(
                    f"the group {broker.group} has read up to {group['last-delivered-id'].decode()}, beyond the last "
                    f"entry of the stream, {last.decode()}: no new entry reaches it",
                    hint=f"set it back: XGROUP SETID {broker.stream} {broker.group} {last.decode()}",
                )

    async def _own_pending(self) -> list[tuple[bytes, Fields]]:
        if self._own is None:
            return []
        entries = await self._read(self._own)
        self._own = entries[-1][0] if entries else None
        return entries

    async def _left_by_others(self) -> list[tuple[bytes, Fields]]:
        broker, now = self._broker, asyncio.get_running_loop().time()
        if now < self._look_at:
            return []
        reply: Any = await self._client.xautoclaim(
            broker.stream, broker.group, broker.consumer,
            min_idle_time=round(broker.take_over_after * 1000), start_id=self._idle, count=limits.BATCH,
        )  # fmt: skip
        self._idle, entries = reply[0], reply[1]
        if self._idle == b"0-0":
            self._look_at = now + broker.take_over_after / 2
        return [(entry, fields) for entry, fields in entries if entry is not None]  # Redis 6.2: None for deleted ones

    async def _read(self, start: str | bytes, block: int | None = None) -> list[tuple[bytes, Fields]]:
        broker = self._broker
        streams: dict[Any, Any] = {broker.stream: start}
        reply: Any = await self._client.xreadgroup(
            broker.group, broker.consumer, streams, count=limits.BATCH, block=block
        )
        return [entry for _, entries in reply for entry in entries] if reply else []

    async def _acknowledge(self, entries: Sequence[bytes]) -> None:
        await self._client.xack(self._broker.stream, self._broker.group, *entries)


def _position(entry: bytes) -> tuple[int, ...]:
    return tuple(map(int, entry.split(b"-")))


def _content(fields: Fields) -> Mapping[str, bytes]:
    return {name.decode("utf-8", "replace"): value for name, value in fields.items()}


def _traceparent(fields: Fields) -> str | None:
    """Return the entry's trace, where a field `data` holds the message; else it is one of the watch's own fields."""
    value = fields.get(b"traceparent") if b"data" in fields else None
    return None if value is None else value.decode("utf-8", "replace")


def _hint(exc: BaseException) -> str | None:
    text = str(exc)
    if isinstance(exc, AuthenticationError) or text.startswith(("NOAUTH", "WRONGPASS")):
        return CREDENTIALS
    if isinstance(exc, NoPermissionError):
        return "allow the user XGROUP, XREADGROUP, XAUTOCLAIM, XACK and XADD on the stream and on <stream>:dead"
    if text.startswith("WRONGTYPE"):
        return "the key of the stream has another type; name another stream"
    return None
