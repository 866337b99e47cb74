"""The outbox: events on their way to endpoints. Committed with a watch's step, claimed, settled, retried."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from notifier.core.model import Delivery, Micros, Record, Watch
from notifier.store import callbacks, recovery, redating
from notifier.store import statements as sql
from notifier.store.connection import Connection
from notifier.store.delivery_lists import conditions
from notifier.store.hot import together
from notifier.store.operations import CommitOp, SettleOp
from notifier.store.reader import Reader
from notifier.store.rows import delivery_from
from notifier.store.transaction import Transaction
from notifier.store.values import DeliveryClaim, DeliveryFilter, Recovery, Settlement
from notifier.store.writer import Writer

MAX_CLAIM = 1000  # deliveries of one endpoint claimed at once: bounds memory and a statement's parameters
LINGER = 0.05  # seconds that a verdict waits for others to share a transaction with; longer than changes wait
MAX_REVIVED = 500  # dead deliveries made ready in one transaction: others wait for it

_ENDPOINTS = "SELECT DISTINCT endpoint FROM deliveries WHERE id IN (:ids...)"
_LANES = "SELECT DISTINCT lane FROM deliveries WHERE id IN (:ids...) AND lane IS NOT NULL"


class Outbox:
    """The events and deliveries of the store. A method that writes returns after its commit.

    `commit` and `settle` wait while the database is away; the others raise StoreUnavailable, unless they say otherwise.
    """

    def __init__(self, writer: Writer, reader: Reader, transaction: Transaction) -> None:
        self._writer = writer
        self._reader = reader
        self._node = transaction.node

    async def commit(self, watch: Watch | None, records: Sequence[Record]) -> list[Delivery]:
        """Save a watch's step and its events, or operators' events, in one transaction.

        Returns the deliveries to send now, in order. Raises StaleWrite when the stored watch is not the one before
        this step, was removed, or is another node's.
        """
        within = 0.0 if watch is None else self._writer.gathering()
        deliveries: list[Delivery] = await self._writer.submit(CommitOp(watch, records), within=within)
        return deliveries

    async def claim(self, room: Mapping[str, int], *, now: Micros) -> DeliveryClaim:
        """Claim deliveries that are due: for each endpoint named up to so many, oldest due first."""

        def claim(connection: Connection) -> DeliveryClaim:
            claimed: list[Delivery] = []
            next_due: dict[str, Micros] = {}
            for endpoint, limit in room.items():
                params = {"endpoint": endpoint, "now": now, "limit": min(limit, MAX_CLAIM), "me": self._node.number}
                ids = connection.execute(sql.CLAIM_DELIVERIES, params).scalars()
                claimed.extend(_load(connection, ids))
                due = connection.execute(sql.NEXT_DUE, {"endpoint": endpoint}).scalar()
                if due is not None:
                    next_due[endpoint] = due
            return DeliveryClaim(deliveries=tuple(claimed), next_due=next_due)

        return await self._writer.call(claim, left=lambda claim: DeliveryClaim(next_due=claim.next_due))

    async def settle(self, settlement: Settlement, *, urgent: bool = False) -> Delivery | None:
        """Save the verdict on a delivery; return the next of its lane if this node is to send it now.

        Unless it is urgent, it waits some milliseconds for others to share a transaction with. After `Later` there is
        one only with `latest`: a newer state has taken the delivery's place.
        Raises StaleWrite when the delivery is no longer this node's.
        """
        within = 0.0 if urgent else LINGER
        released: Delivery | None = await self._writer.submit(SettleOp(settlement), within=within)
        return released

    async def retry(self, which: DeliveryFilter, *, now: Micros) -> int:
        """Make dead deliveries ready again, with the same ids; return their number.

        Many take several transactions: those before one that raises are committed.
        """
        ids = await self._reader.page(partial(_dead, which=which))
        total = 0
        for start in range(0, max(len(ids), 1), MAX_REVIVED):  # at least once, so that an outage is told
            total += await self._writer.call(partial(self._revive, ids=ids[start : start + MAX_REVIVED], now=now))
        return total

    def _revive(self, connection: Connection, ids: Sequence[int], now: Micros) -> int:
        if not ids:
            return 0
        lanes = list(_lanes(connection, ids))
        with together(connection) as batch:
            self._node.keep_order(batch, lanes)
        self._node.tell(connection, deliveries=True)
        count = connection.execute(sql.REVIVE, [{"id": number, "now": now} for number in ids]).count
        names = connection.execute(_ENDPOINTS, {"ids": list(ids)}).scalars()
        with together(connection) as batch:
            callbacks.wake(batch, ((name, now) for name in names))
        return count

    async def pull(self, *, latest: Micros, now: Micros) -> int:
        """Make deliveries due now that are due after `latest`, as no schedule puts them; return their number.

        They were scheduled by a clock that has been set back since.
        """
        return await self._writer.call(partial(redating.deliveries_due, latest=latest, now=now))

    async def hasten(self, recovered: Recovery) -> int:
        """Bring forward deliveries that failed during an endpoint's outage; return their number.

        In transactions of bounded size. Waits while the database is away.
        """
        place, more = recovery.start(recovered), True
        while more:
            step = partial(recovery.bring_forward, recovery=recovered, after=place)
            place, more = await self._writer.call(step, hold=True)
        return place.moved


def _load(connection: Connection, ids: Sequence[int]) -> list[Delivery]:
    """Read deliveries with their bodies."""
    return [delivery_from(row) for row in connection.execute(sql.LOAD_DELIVERIES, {"ids": list(ids)})] if ids else []


def _dead(connection: Connection, which: DeliveryFilter) -> array[int]:
    """Return the ids of dead deliveries, in the order of each watch's events; eight bytes an id."""
    where, given = conditions(which)
    query = f"SELECT id FROM deliveries WHERE {where} AND status = 'dead' ORDER BY sequence, id"
    return array("q", connection.execute(query, given).scalars())


def _lanes(connection: Connection, ids: Sequence[int]) -> Iterator[int]:
    """Yield the watches of these deliveries; read only if somebody asks."""
    yield from connection.execute(_LANES, {"ids": list(ids)}).scalars()
