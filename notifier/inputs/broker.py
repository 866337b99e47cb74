"""The interface of a message broker, and the errors that all brokers share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import structlog

from notifier.core.errors import NotifierError
from notifier.inputs import limits
from notifier.inputs.message import Content

log = structlog.get_logger(__name__)

R = TypeVar("R")

CREDENTIALS = "check the user and password in the queue's url"


class BrokerUnavailable(NotifierError):
    """The broker cannot be reached, or does not serve us for now."""

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class QueueUnusable(BrokerUnavailable):
    """The broker works, but its queue can bring no watches as it is set up."""


class NotSetAside(NotifierError):
    """The broker does not let us keep a refused message elsewhere; it stays in the queue, unacknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Generic[R]):
    """One message, unacknowledged."""

    content: Content
    receipt: R  # identifies it to the broker
    traceparent: str | None = None  # of its header or field, as it came


class Session(Protocol[R]):
    """One connection that reads the queue. Every method raises BrokerUnavailable once the connection is lost."""

    async def receive(self) -> Sequence[Message[R]]:
        """Return up to BATCH messages of `limits`, after about POLL seconds at the latest; then there may be none."""
        ...

    async def acknowledge(self, messages: Sequence[Message[R]]) -> None:
        """Let the broker forget these messages."""
        ...

    async def set_aside(self, message: Message[R], reason: str) -> None:
        """Move a message, complete, to the place of refused messages. Raises NotSetAside."""
        ...


class Broker(Protocol[R]):
    """A queue on a message broker."""

    @property
    def name(self) -> str:
        """Return a name for logs and metrics, without secrets."""
        ...

    def session(self) -> AbstractAsyncContextManager[Session[R]]:
        """Connect, and create missing objects; at the end, unacknowledged messages are left to other consumers."""
        ...


def describe(exc: BaseException, url: str) -> str:
    """Return a library's error in one line, without the credentials of the URL."""
    text = " ".join(str(exc).split()) or type(exc).__name__
    parts = urlsplit(url)
    secrets = {parts.netloc.rpartition("@")[0], parts.password or parts.username or ""}
    for secret in sorted(secrets | set(map(unquote, secrets)), key=len, reverse=True):
        if secret:
            text = text.replace(secret, "<secret>")
    return text[:500]


async def close_in_time(closing: Coroutine[Any, Any, None]) -> None:
    """Close a connection within `limits.CLOSE` seconds. Its errors are only logged, since it is given up anyway.

    A cancellation waits for the end: if they are interrupted, the client libraries leave connections open.
    """

    async def bounded() -> None:
        try:
            async with asyncio.timeout(limits.CLOSE):
                await closing
        except asyncio.CancelledError:
            pass  # the library has cancelled it
        except Exception:  # the error that led here is reported; this one must not replace it
            log.debug("queue.not_closed", exc_info=True)

    task = asyncio.create_task(bounded(), name="closing a queue's connection")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
