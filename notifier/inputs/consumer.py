"""The loop that all queues share: receive, store, acknowledge.

A message is acknowledged only after the commit of its changes, and a refused message only after it is kept elsewhere.
So nothing is lost, and a message that arrives twice changes nothing. Outages of broker and store are waited out.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Generic, TypeVar

import structlog

from notifier.core.errors import StoreUnavailable
from notifier.core.pace import backoff
from notifier.inputs.broker import Broker, BrokerUnavailable, Message, NotSetAside, QueueUnusable, Session
from notifier.inputs.intake import Intake
from notifier.inputs.message import AddWatch, Change, MessageRefused, batches, excerpt, read
from notifier.runtime.metrics import Metrics

R = TypeVar("R")

log = structlog.get_logger(__name__)

BACKOFF_INITIAL = 0.5  # seconds
BACKOFF_MAX = 30.0  # seconds, for a broker
STORE_BACKOFF_MAX = 5.0  # seconds for the store, which is near and which many wait for

ACCEPTED, REMOVED, REFUSED, RETRIED = "accepted", "removed", "refused", "retried"
OUTCOMES = (ACCEPTED, REMOVED, REFUSED, RETRIED)  # of a message; `retried`: it could not be stored and arrives again


class QueueInput(Generic[R]):
    """Receives watches from one queue.

    `name` is for logs and metrics, without secrets. `problem` is the reason why it brings nothing at the moment; None:
    nothing is known to be wrong.
    """

    def __init__(self, *, broker: Broker[R], intake: Intake, metrics: Metrics) -> None:
        self.name = broker.name
        self.problem: str | None = None
        self._broker = broker
        self._intake = intake
        self._counters = {outcome: metrics.queue_messages.labels(self.name, outcome) for outcome in OUTCOMES}
        self._failures = 0  # in a row
        self._logged: set[str] = set()  # the kinds of trouble that were logged since the last success
        self._log = log.bind(queue=self.name)

    async def run(self) -> None:
        """Receive until cancelled; a fault of the broker or of the store is waited out, and never raised."""
        while True:
            ceiling = BACKOFF_MAX
            try:
                async with self._broker.session() as session:
                    while True:
                        _raise_if_cancelled()
                        await self._turn(session)
            except StoreUnavailable:
                ceiling = STORE_BACKOFF_MAX  # the store has logged it; the broker has the messages back
            except QueueUnusable as exc:
                _raise_if_cancelled()
                self.problem = str(exc)
                if self._first(str(exc)):
                    self._log.error("queue.unusable", error=str(exc), hint=exc.hint)
            except BrokerUnavailable as exc:
                _raise_if_cancelled()
                self._log_outage(str(exc), exc.hint)
            except asyncio.CancelledError:
                _raise_if_cancelled()
                self._log_outage("the connection was lost", None)
            except Exception as exc:  # no error of a client library may end the daemon
                _raise_if_cancelled()
                self.problem = f"a fault of this program: {type(exc).__name__}"
                if self._first(type(exc).__name__):
                    self._log.exception("queue.failed", hint="connecting again")
            _raise_if_cancelled()
            self._failures += 1
            pause = backoff(self._failures, initial=BACKOFF_INITIAL, ceiling=ceiling, jitter=random.random())
            await asyncio.sleep(pause)

    async def _turn(self, session: Session[R]) -> None:
        batch = await session.receive()
        self.problem = None
        if self._logged:
            self._logged.clear()
            self._log.info("queue.recovered")
        if batch:
            await self._process(session, batch)
        self._failures = 0

    def _log_outage(self, error: str, hint: str | None) -> None:
        self.problem = error
        if self._first("unavailable"):
            self._log.warning("queue.unavailable", error=error, hint=hint or "trying again; all else goes on")

    def _first(self, kind: str) -> bool:
        """Return whether this kind of trouble is new since the last success, and remember it."""
        new = kind not in self._logged
        self._logged.add(kind)
        return new

    async def _process(self, session: Session[R], batch: Sequence[Message[R]]) -> None:
        good: list[tuple[Message[R], Sequence[Change]]] = []
        bad: list[tuple[Message[R], str]] = []
        for message in batch:
            try:
                good.append((message, read(message.content, self._intake.config, traceparent=message.traceparent)))
            except MessageRefused as exc:
                bad.append((message, str(exc)))
            await asyncio.sleep(0)  # parsing a batch may take long, so other tasks get a turn
        try:
            failed = await self._store(good)
        except StoreUnavailable:
            self._counters[RETRIED].value += len(good)
            raise
        failures = {id(message) for message, _ in failed}
        stored = [(message, changes) for message, changes in good if id(message) not in failures]
        if stored:
            await session.acknowledge([message for message, _ in stored])
        for _, changes in stored:
            only_removals = changes and not any(isinstance(change, AddWatch) for change in changes)
            self._counters[REMOVED if only_removals else ACCEPTED].value += 1
        for message, reason in bad + failed:
            await self._refuse(session, message, reason)

    async def _store(self, good: Sequence[tuple[Message[R], Sequence[Change]]]) -> list[tuple[Message[R], str]]:
        """Store the changes of the messages; return the messages that cannot be stored, and why."""
        try:
            await self._apply_changes([change for _, changes in good for change in changes])
        except StoreUnavailable:
            raise
        except Exception:  # the fault of a message: storing them one by one shows which
            self._log.debug("queue.batch_failed", messages=len(good), exc_info=True)
        else:
            return []
        failed: list[tuple[Message[R], str]] = []
        for message, changes in good:
            try:
                await self._apply_changes(changes)
            except StoreUnavailable:
                raise
            except Exception as exc:
                self._log.exception("queue.message_failed", message=excerpt(message.content))
                failed.append((message, f"cannot be stored: {type(exc).__name__}"))
        return failed

    async def _apply_changes(self, changes: Sequence[Change]) -> None:
        for batch in batches(changes):
            if batch.added:
                await self._intake.apply(batch.added)
            await asyncio.gather(*(self._intake.remove(each.source, each.id) for each in batch.removed))

    async def _refuse(self, session: Session[R], message: Message[R], reason: str) -> None:
        try:
            await session.set_aside(message, reason)
        except NotSetAside as exc:
            self._log.error(
                "queue.not_set_aside",
                message=excerpt(message.content),
                reason=reason,
                error=str(exc),
                hint="it stays unacknowledged and arrives again; let the user write where refused messages are kept",
            )
            return
        self._counters[REFUSED].value += 1
        self._log.warning("queue.message_refused", message=excerpt(message.content), reason=reason)


def _raise_if_cancelled() -> None:
    """Raise CancelledError if this task is being cancelled.

    Client libraries cancel their own futures when a connection ends. They also turn a cancellation into an error or,
    with `asyncio.wait_for` of Python 3.11, swallow it.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
