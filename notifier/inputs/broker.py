"""What the consuming loop asks of a message broker, and the faults that brokers have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import structlog

from notifier.core.errors import NotifierError
from notifier.inputs.message import Content

log = structlog.get_logger(__name__)

R = TypeVar("R")

POLL = 1.0  # seconds that a reading waits for a first message
BATCH = 200  # messages held unacknowledged, and stored in one transaction: bounds memory
CONNECT = 10.0  # seconds for a connection to be made
ANSWER = 10.0  # seconds for the broker to answer anything
CLOSE = 3.0  # seconds for an orderly goodbye
MAX_REASON = 1000  # characters kept with a message that was set aside
CREDENTIALS = "check the user and password in the queue's url"


class BrokerUnavailable(NotifierError):
    """The broker cannot be reached, or does not serve us for now."""

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class NotSetAside(NotifierError):
    """The broker does not let us keep a refused message elsewhere; it stays where it is, unacknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Generic[R]):
    """One message, unacknowledged."""

    content: Content
    receipt: R  # by which the broker knows it


class Session(Protocol[R]):
    """One connection that reads from the queue. Every method raises BrokerUnavailable once it is lost."""

    async def receive(self) -> Sequence[Message[R]]:
        """Return up to BATCH messages, at the latest after some POLL seconds; then there may be none."""
        ...

    async def acknowledge(self, messages: Sequence[Message[R]]) -> None:
        """Have the broker forget these."""
        ...

    async def set_aside(self, message: Message[R], reason: str) -> None:
        """Move a message to where refused ones are kept, losing nothing of it. Raises NotSetAside."""
        ...


class Broker(Protocol[R]):
    """A queue on a message broker."""

    @property
    def name(self) -> str:
        """Return a name for logs and metrics, without anything secret."""
        ...

    def session(self) -> AbstractAsyncContextManager[Session[R]]:
        """Connect, making what is missing; at the end, whatever is not acknowledged is left for others."""
        ...


def told(exc: BaseException, url: str) -> str:
    """Describe a library's error in one line, without the credentials of the URL."""
    text = " ".join(str(exc).split()) or type(exc).__name__
    parts = urlsplit(url)
    secrets = {parts.netloc.rpartition("@")[0], parts.password or parts.username or ""}
    for secret in sorted(secrets | set(map(unquote, secrets)), key=len, reverse=True):
        if secret:
            text = text.replace(secret, "<secret>")
    return text[:500]


async def part(goodbye: Coroutine[Any, Any, None]) -> None:
    """Close a connection, in CLOSE seconds at most, whatever comes of it: the connection is given up anyway.

    A cancellation meanwhile waits for the end: cut short, the client libraries leave connections open.
    """

    async def bounded() -> None:
        try:
            async with asyncio.timeout(CLOSE):
                await goodbye
        except asyncio.CancelledError:
            pass  # by a library itself
        except Exception:  # what led here is told; this must not take its place
            log.debug("queue.not_closed", exc_info=True)

    task = asyncio.create_task(bounded(), name="closing a queue's connection")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
