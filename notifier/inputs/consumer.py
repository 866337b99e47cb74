"""The loop that all queues share: read, store, acknowledge.

A message is acknowledged only after the commit of what it asks for, and a refused one only after it is kept elsewhere;
so nothing is lost, and what comes twice changes nothing. An outage, of the broker or the store, is waited out.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from notifier.core.errors import StoreUnavailable
from notifier.core.model import NewWatch
from notifier.core.pace import backoff
from notifier.inputs.broker import Broker, BrokerUnavailable, Message, NotSetAside, Session
from notifier.inputs.message import MessageRefused, Order, ParseWatch, Want, excerpt, read, steps

R = TypeVar("R")

log = structlog.get_logger(__name__)

BACKOFF_INITIAL = 0.5  # seconds
BACKOFF_MAX = 30.0  # seconds, for a broker
STORE_BACKOFF_MAX = 5.0  # seconds; it is near, and many wait for it

ACCEPTED, REMOVED, REFUSED, RETRIED = "accepted", "removed", "refused", "retried"
OUTCOMES = (ACCEPTED, REMOVED, REFUSED, RETRIED)  # of a message; `retried`: not stored now, it comes again


class QueueInput(Generic[R]):
    """Takes watches from one queue. Implements `interfaces.Input`."""

    def __init__(
        self,
        *,
        broker: Broker[R],
        parse_watch: ParseWatch,
        apply: Callable[[Sequence[NewWatch]], Awaitable[object]],
        remove: Callable[[str, str], Awaitable[object]],
        counted: Callable[[str, int], None],
    ) -> None:
        """Read with `parse_watch`; `apply` and `remove` return after their commit; `counted` hears of each outcome."""
        self.name = broker.name
        self._broker = broker
        self._parse_watch = parse_watch
        self._apply = apply
        self._remove = remove
        self._counted = counted
        self._failures = 0  # in a row
        self._told: set[str] = set()  # the kinds of trouble that were logged since it last went well
        self._log = log.bind(queue=self.name)

    async def run(self) -> None:
        """Take until cancelled."""
        while True:
            ceiling = BACKOFF_MAX
            try:
                async with self._broker.session() as session:
                    while True:
                        _heed_cancellation()
                        await self._turn(session)
            except StoreUnavailable:
                ceiling = STORE_BACKOFF_MAX  # the store has said so; the broker has the messages back
            except BrokerUnavailable as exc:
                _heed_cancellation()
                self._lost(str(exc), exc.hint)
            except asyncio.CancelledError:
                _heed_cancellation()
                self._lost("the connection was lost", None)
            except Exception as exc:  # whatever a client library comes up with must not end the daemon
                _heed_cancellation()
                if self._first(type(exc).__name__):
                    self._log.exception("queue.failed", hint="connecting again")
            _heed_cancellation()
            self._failures += 1
            pause = backoff(self._failures, initial=BACKOFF_INITIAL, ceiling=ceiling, jitter=random.random())
            await asyncio.sleep(pause)

    async def _turn(self, session: Session[R]) -> None:
        batch = await session.receive()
        if self._told:
            self._told.clear()
            self._log.info("queue.recovered")
        if batch:
            await self._take(session, batch)
        self._failures = 0

    def _lost(self, error: str, hint: str | None) -> None:
        if self._first("unavailable"):
            self._log.warning("queue.unavailable", error=error, hint=hint or "trying again; all else goes on")

    def _first(self, kind: str) -> bool:
        """Say whether this kind of trouble is new since it last went well, and remember it."""
        new = kind not in self._told
        self._told.add(kind)
        return new

    async def _take(self, session: Session[R], batch: Sequence[Message[R]]) -> None:
        good: list[tuple[Message[R], Sequence[Order]]] = []
        bad: list[tuple[Message[R], str]] = []
        for message in batch:
            try:
                good.append((message, read(message.content, self._parse_watch)))
            except MessageRefused as exc:
                bad.append((message, str(exc)))
            await asyncio.sleep(0)  # reading a batch may take long, and others wait for the loop
        try:
            failed = await self._store(good)
        except StoreUnavailable:
            self._counted(RETRIED, len(good))
            raise
        without = {id(message) for message, _ in failed}
        stored = [(message, orders) for message, orders in good if id(message) not in without]
        if stored:
            await session.acknowledge([message for message, _ in stored])
        for _, orders in stored:
            self._counted(REMOVED if orders and not any(isinstance(o, Want) for o in orders) else ACCEPTED, 1)
        for message, reason in bad + failed:
            await self._refuse(session, message, reason)

    async def _store(self, good: Sequence[tuple[Message[R], Sequence[Order]]]) -> list[tuple[Message[R], str]]:
        """Carry out what the messages ask for; return those that cannot be carried out, and why."""
        try:
            await self._carry_out([order for _, orders in good for order in orders])
        except StoreUnavailable:
            raise
        except Exception:  # some message's own fault: one by one, it shows which
            self._log.debug("queue.batch_failed", messages=len(good), exc_info=True)
        else:
            return []
        failed: list[tuple[Message[R], str]] = []
        for message, orders in good:
            try:
                await self._carry_out(orders)
            except StoreUnavailable:
                raise
            except Exception as exc:
                self._log.exception("queue.message_failed", message=excerpt(message.content))
                failed.append((message, f"cannot be stored: {type(exc).__name__}"))
        return failed

    async def _carry_out(self, orders: Sequence[Order]) -> None:
        for step in steps(orders):
            if step.wanted:
                await self._apply(step.wanted)
            await asyncio.gather(*(self._remove(each.source, each.id) for each in step.unwanted))

    async def _refuse(self, session: Session[R], message: Message[R], reason: str) -> None:
        try:
            await session.set_aside(message, reason)
        except NotSetAside as exc:
            self._log.error(
                "queue.not_set_aside",
                message=excerpt(message.content),
                reason=reason,
                error=str(exc),
                hint="it stays unacknowledged and comes again; allow the user to write where refused messages go",
            )
            return
        self._counted(REFUSED, 1)
        self._log.warning("queue.message_refused", message=excerpt(message.content), reason=reason)


def _heed_cancellation() -> None:
    """Raise CancelledError if this task is being cancelled, whatever a library made of that.

    Client libraries cancel futures of their own when a connection ends, and turn a cancellation into an error or, with
    `asyncio.wait_for` of Python 3.11, into nothing at all.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
