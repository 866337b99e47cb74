"""What happens inside a transaction, for a whole group at once. Runs in the store's threads; no asyncio here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from notifier.core.errors import StaleWrite
from notifier.core.model import Address, Delivery, Micros, Record, Watch
from notifier.interfaces import Later, Settlement
from notifier.store import statements as sql
from notifier.store.group import Operation
from notifier.store.rows import attempt_row, event_row, fresh_delivery, settle_row, step_row

ID_BLOCK = 1000  # ids taken at once: one statement for a thousand rows, and a gap at most that wide after a stop
MAX_CLAIM = 1000  # deliveries of one endpoint taken at once: bounds memory and a statement's parameters


@dataclass(frozen=True, slots=True)
class CommitOp:
    """A watch's step and its events."""

    watch: Watch | None
    records: Sequence[Record]
    hold: bool = True


@dataclass(frozen=True, slots=True)
class SettleOp:
    """What became of a delivery."""

    settlement: Settlement
    hold: bool = True


@dataclass(frozen=True, slots=True)
class CallOp:
    """Anything else."""

    call: Callable[[Connection], object]
    hold: bool = False


class Ids:
    """Hands out ids from blocks taken beforehand, in transactions of their own."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._end: dict[str, int] = {}

    def take(self, connection: Connection, counter: str, count: int) -> int:
        """Return the first of `count` ids in a row."""
        first = self._next.get(counter, 0)
        if self._end.get(counter, 0) - first < count:
            size = max(count, ID_BLOCK)
            row = connection.execute(sql.TAKE_IDS, {"counter": counter, "count": size}).scalar_one()
            first, self._end[counter] = row - size, row
        self._next[counter] = first + count
        return first

    def forget(self) -> None:
        """Drop every block."""
        self._next.clear()
        self._end.clear()


class Transaction:
    """Runs a group of operations."""

    def __init__(self, node: int) -> None:
        self.node = node
        self._ids = Ids()

    def rolled_back(self) -> None:
        """Drop the ids at hand: the block they come from may not have been committed."""
        self._ids.forget()

    def __call__(self, connection: Connection, operations: Sequence[Operation]) -> list[object]:
        """Run a group; return a result for each. Raises for the whole group: the caller then runs them singly."""
        commits = [operation for operation in operations if isinstance(operation, CommitOp)]
        settles = [operation.settlement for operation in operations if isinstance(operation, SettleOp)]
        committed = iter(self._commit(connection, commits) if commits else ())
        settled = iter(self._settle(connection, settles) if settles else ())
        results: list[object] = []
        for operation in operations:
            match operation:
                case CommitOp():
                    results.append(next(committed))
                case SettleOp():
                    results.append(next(settled))
                case CallOp(call=call):
                    results.append(call(connection))
                case _:
                    raise TypeError(operation)
        return results

    def ids(self, connection: Connection, counter: str, count: int) -> int:
        """Return the first of `count` ids in a row."""
        return self._ids.take(connection, counter, count)

    # -- commit

    def _commit(self, connection: Connection, commits: Sequence[CommitOp]) -> list[list[Delivery]]:
        steps = [step_row(op.watch, op.records, self.node) for op in commits if op.watch is not None]
        if steps and sql.STEP_WATCH.many(connection, steps) != len(steps):
            raise StaleWrite
        records = [(op, record) for op in commits for record in op.records]
        if not records:
            return [[] for _ in commits]
        first_event = self._ids.take(connection, "event", len(records))
        sql.INSERT_EVENTS.many(
            connection,
            [event_row(first_event + n, op.watch, record) for n, (op, record) in enumerate(records)],
        )
        addressed = [
            (first_event + n, op.watch, record, address)
            for n, (op, record) in enumerate(records)
            for address in record.addresses
        ]
        waiting, first = self._enqueue(connection, addressed) if addressed else (frozenset(), 0)
        out: dict[int, list[Delivery]] = {id(op): [] for op in commits}
        number = first
        for op, record in records:
            for address in record.addresses:
                if address.take and number not in waiting:
                    out[id(op)].append(fresh_delivery(number, op.watch, record, address))
                number += 1
        return [out[id(op)] for op in commits]

    def _enqueue(
        self, connection: Connection, addressed: Sequence[tuple[int, Watch | None, Record, Address]]
    ) -> tuple[frozenset[int], int]:
        latest = [
            {"_endpoint": address.endpoint, "_lane": watch.pk, "_now": record.at}
            for _, watch, record, address in addressed
            if address.latest and watch is not None
        ]
        if latest:
            sql.SUPERSEDE.many(connection, latest)
        first = self._ids.take(connection, "delivery", len(addressed))
        rows = [
            {
                "id": first + n,
                "event": event,
                "lane": None if watch is None else watch.pk,
                "endpoint": address.endpoint,
                "sequence": record.sequence,
                "due": record.at,
                "_owner": self.node if address.take else None,
            }
            for n, (event, watch, record, address) in enumerate(addressed)
        ]
        sql.INSERT_DELIVERIES.many(connection, rows)
        waiting = sql.WHICH_WAIT.all(connection, {"first": first, "last": first + len(rows) - 1})
        return frozenset(number for (number,) in waiting), first

    # -- settle

    def _settle(self, connection: Connection, settlements: Sequence[Settlement]) -> list[Delivery | None]:
        rows = [settle_row(settlement, self.node) for settlement in settlements]
        if sql.SETTLE.many(connection, rows) != len(rows):
            raise StaleWrite
        tried = [attempt_row(s.delivery.id, s.attempt) for s in settlements if s.attempt is not None]
        if tried:
            sql.INSERT_ATTEMPTS.many(connection, tried)
        promoted = self._promote(connection, settlements)
        return [promoted.get((s.delivery.endpoint, s.delivery.lane)) for s in settlements]

    def _promote(
        self, connection: Connection, settlements: Sequence[Settlement]
    ) -> dict[tuple[str, int | None], Delivery]:
        """Make the next of each lane ready; return those that this node takes at once."""
        lanes = [
            {
                "_endpoint": s.delivery.endpoint,
                "_lane": s.delivery.lane,
                "_due": s.at,
                "_owner": self.node if s.take else None,
            }
            for s in settlements
            if s.delivery.lane is not None and not isinstance(s.verdict, Later)
        ]
        if not lanes or not sql.PROMOTE.many(connection, lanes):
            return {}
        ids = [row[0] for lane in lanes if lane["_owner"] is not None for row in sql.PROMOTED.all(connection, lane)]
        return {(found.endpoint, found.lane): found for found in load(connection, ids)}

    # -- claims

    def claim_deliveries(
        self, connection: Connection, room: Iterable[tuple[str, int]], now: Micros
    ) -> tuple[list[Delivery], dict[str, Micros]]:
        """Take what is due of each endpoint, and tell when its next is."""
        taken: list[Delivery] = []
        next_due: dict[str, Micros] = {}
        for endpoint, limit in room:
            params = {"_endpoint": endpoint, "_now": now, "limit": min(limit, MAX_CLAIM), "_me": self.node}
            ids = connection.execute(sql.CLAIM_DELIVERIES, params).scalars().all()
            taken.extend(load(connection, ids))
            due = connection.execute(sql.NEXT_DUE, {"_endpoint": endpoint}).scalar()
            if due is not None:
                next_due[endpoint] = due
        return taken, next_due


def load(connection: Connection, ids: Sequence[int]) -> list[Delivery]:
    """Read deliveries with their bytes."""
    if not ids:
        return []
    return [
        Delivery(
            id=row.id,
            endpoint=row.endpoint,
            event_id=row.event_id,
            event_type=row.type,
            body=row.body,
            lane=row.lane,
            observed_at=row.at,
            attempt=row.attempt,
        )
        for row in connection.execute(sql.LOAD_DELIVERIES, {"ids": list(ids)})
    ]
