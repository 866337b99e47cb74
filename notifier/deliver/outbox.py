"""The way from the store: claims deliveries that are due. It also logs what is saved of them.

Claims are batched: destinations that ask at the same time, or while a claim is under way, share one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from notifier.core.errors import StoreUnavailable
from notifier.core.model import Delivery, Micros
from notifier.core.retry import Delivered, Gone
from notifier.runtime.wake import Wake
from notifier.store import Dead, DeliveryClaim, Done, Later, Muted, Recovery, Settlement, Store, Superseded

log = structlog.get_logger(__name__)

AFTER_OUTAGE = 1.0  # seconds until the store is asked again after it could not answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The deliveries of one destination that were due and are this node's now."""

    deliveries: Sequence[Delivery]
    next_due: Micros | None  # of those that the store still holds


class OutboxClient:
    """Claims deliveries."""

    def __init__(self, *, store: Store, clock: Callable[[], Micros]) -> None:
        self._store = store
        self._clock = clock
        self._asked: dict[str, tuple[int, asyncio.Future[Claimed]]] = {}
        self._wake = Wake()

    async def run(self) -> None:
        """Answer claims until cancelled."""
        while True:
            await self._wake.wait()
            asked, self._asked = self._asked, {}
            if asked and not await self._answer(asked):
                await asyncio.sleep(AFTER_OUTAGE)

    async def claim(self, destination: str, count: int) -> Claimed:
        """Claim up to `count` deliveries that are due, in one transaction with the other claims of the moment.

        A destination makes one claim at a time. Raises StoreUnavailable.
        """
        future: asyncio.Future[Claimed] = asyncio.get_running_loop().create_future()
        self._asked[destination] = (count, future)
        self._wake.set()
        return await future

    async def hasten(self, recovery: Recovery) -> None:
        """Bring forward the deliveries that failed during an outage; an exception is logged and ends here.

        After a crash in between, the rest of them are sent by their schedule.
        """
        try:
            count = await self._store.outbox.hasten(recovery)
        except Exception:
            log.exception("endpoint.hasten_failed", endpoint=recovery.endpoint)
            return
        if count:
            log.info("endpoint.hastened", endpoint=recovery.endpoint, deliveries=count)

    async def _answer(self, asked: dict[str, tuple[int, asyncio.Future[Claimed]]]) -> bool:
        """Claim for all destinations that asked; return whether the store could answer."""
        rooms = {name: count for name, (count, _) in asked.items()}
        try:
            claim = await self._store.outbox.claim(rooms, now=self._clock())
        except StoreUnavailable as exc:
            for _, future in asked.values():
                if not future.done():  # it is done if the destination's task was cancelled
                    future.set_exception(exc)
            return False
        for name, deliveries in _by_endpoint(claim, rooms).items():
            _, future = asked[name]
            if not future.done():
                future.set_result(Claimed(deliveries=deliveries, next_due=claim.next_due.get(name)))
        return True


def _by_endpoint(claim: DeliveryClaim, names: Iterable[str]) -> dict[str, list[Delivery]]:
    deliveries: dict[str, list[Delivery]] = {name: [] for name in names}
    for delivery in claim.deliveries:
        deliveries[delivery.endpoint].append(delivery)
    return deliveries


def log_attempt(settlement: Settlement, url: str | None) -> None:
    """Log an attempt that failed, with what follows from it for the delivery, which is about to be saved.

    `url` is told where the destination has no name that people know.
    """
    delivery, attempt = settlement.delivery, settlement.attempt
    if attempt is None or isinstance(attempt.outcome, Delivered):
        return
    outcome = attempt.outcome
    fields: dict[str, object] = {
        "endpoint": delivery.endpoint,
        "delivery": delivery.id,
        "event_id": delivery.event_id,
        "attempt": delivery.attempt + 1,
        "reason": outcome.reason,
        "detail": outcome.detail,
    }
    if url is not None:
        fields["url"] = url
    match settlement.verdict:
        case Later() if isinstance(outcome, Gone):
            log.info("delivery.kept", **fields)  # for when an operator enables the endpoint
        case Later(due=due):
            log.info("delivery.retrying", **fields, delay=round((due - settlement.at) / 1e6, 3))
        case Dead() | Done() | Superseded() | Muted():  # the last three do not follow from an attempt that failed
            log.error("delivery.dead", **fields, hint=f"notifier delivery retry {delivery.id}")


def log_verdict(settlement: Settlement, released: Delivery | None) -> None:
    """Log a verdict that was saved, if it does not follow from an attempt; `released`: a delivery takes its place."""
    delivery = settlement.delivery
    match settlement.verdict:
        case Muted(mute=mute):
            log.info("delivery.muted", endpoint=delivery.endpoint, delivery=delivery.id, mute=mute)
        case Later() if released is not None:
            log.info(
                "delivery.superseded", endpoint=delivery.endpoint, delivery=delivery.id, event_id=delivery.event_id
            )
