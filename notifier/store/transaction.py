"""The statements of a transaction, for a whole group at once. Runs in the writer's thread; no asyncio here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from notifier.core.errors import StaleWrite
from notifier.core.model import Address, Delivery, Micros, Record, Watch
from notifier.store import callbacks, hot
from notifier.store import statements as sql
from notifier.store.connection import Connection
from notifier.store.hot import Batch, Result, together
from notifier.store.node import Node
from notifier.store.operations import CallOp, CommitOp, Operation, SettleOp
from notifier.store.rows import attempt_row, delivery_from, event_row, fresh_delivery, settle_row, step_row
from notifier.store.values import Later, Settlement

ID_BLOCK = 1000  # ids taken at once: one statement for a thousand rows, and a gap at most that wide after a stop


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
            [end] = connection.execute(sql.TAKE_IDS, {"counter": counter, "count": size}).scalars()
            first, self._end[counter] = end - size, end
        self._next[counter] = first + count
        return first

    def forget(self) -> None:
        """Drop every block."""
        self._next.clear()
        self._end.clear()


class Transaction:
    """Runs a group of operations."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._ids = Ids()

    def rolled_back(self) -> None:
        """Drop the blocks of ids: they may not have been committed."""
        self._ids.forget()

    def __call__(self, connection: Connection, operations: Sequence[Operation]) -> list[object]:
        """Run a group; return a result for each. Raises for the whole group: the caller then runs them singly."""
        commits = [operation for operation in operations if isinstance(operation, CommitOp)]
        settles = [operation.settlement for operation in operations if isinstance(operation, SettleOp)]
        written = self._write(connection, commits, settles)
        committed, settled = iter(written[0]), iter(written[1])
        results: list[object] = []
        for operation in operations:
            match operation:
                case CommitOp():
                    results.append(next(committed))
                case SettleOp():
                    results.append(next(settled))
                case CallOp(call=call):
                    results.append(call(connection))
        return results

    def ids(self, connection: Connection, counter: str, count: int) -> int:
        """Return the first of `count` ids in a row."""
        return self._ids.take(connection, counter, count)

    def append(self, connection: Connection, records: Sequence[Record]) -> list[Delivery]:
        """Save operators' events inside a running operation; return the deliveries to send now."""
        if not records:
            return []
        op = CommitOp(None, records)
        first = self._ids.take(connection, "delivery", sum(len(record.addresses) for record in records))
        first_event = self.node.first_event(connection, self._ids.take, len(records))
        with together(connection) as batch:
            read = self._commit(batch, [op], [(op, record) for record in records], first, first_event)
        (deliveries,) = read()
        return deliveries

    def _write(
        self, connection: Connection, commits: Sequence[CommitOp], settles: Sequence[Settlement]
    ) -> tuple[list[list[Delivery]], list[Delivery | None]]:
        """Send the statements of all operations, then read their results."""
        records = [(op, record) for op in commits for record in op.records]
        first = self._ids.take(connection, "delivery", sum(len(record.addresses) for _, record in records))
        with together(connection) as batch:
            check = self.node.begin(batch)  # first: it begins to count the events anew
            first_event = self.node.first_event(connection, self._ids.take, len(records))
            self.node.keep_order(batch, _lanes(commits, settles))
            read_commits = self._commit(batch, commits, records, first, first_event)
            read_settles = self._settle(batch, settles)
            callbacks.wake(batch, _left_alone(records, settles))
        check()
        return read_commits(), read_settles()

    # -- commit

    def _commit(
        self,
        batch: Batch,
        commits: Sequence[CommitOp],
        records: Sequence[tuple[CommitOp, Record]],
        first: int,
        first_event: int,
    ) -> Callable[[], list[list[Delivery]]]:
        stepped = self._step(batch, [(op.watch, op.records) for op in commits if op.watch is not None])
        epoch = self.node.epoch
        if records:
            rows = [event_row(first_event + n, epoch, op.watch, record) for n, (op, record) in enumerate(records)]
            batch.run(hot.INSERT_EVENTS, rows)
        addressed = [
            (first_event + n, op.watch, record, address)
            for n, (op, record) in enumerate(records)
            for address in record.addresses
        ]
        waiting = self._enqueue(batch, addressed, first) if addressed else None

        def read() -> list[list[Delivery]]:
            if any(result.count != expected for result, expected in stepped):
                raise StaleWrite
            return _taken(commits, records, first, frozenset(n for (n,) in waiting.rows()) if waiting else frozenset())

        return read

    def _step(self, batch: Batch, steps: Sequence[tuple[Watch, Sequence[Record]]]) -> list[tuple[Result, int]]:
        """Step watches, those that go on and those that end; return the results, and the rows that each must change."""
        stepped = []
        for statement, ended in ((hot.STEP_WATCH, False), (hot.END_WATCH, True)):
            rows = [step_row(watch, records, self.node.number) for watch, records in steps if watch.ended is ended]
            if rows:
                stepped.append((batch.run(statement, rows), len(rows)))
        return stepped

    def _enqueue(
        self, batch: Batch, addressed: Sequence[tuple[int, Watch | None, Record, Address]], first: int
    ) -> Result:
        """Put deliveries into the outbox; return which of them have to wait."""
        latest = [
            {"_endpoint": address.endpoint, "_lane": watch.pk, "_now": record.at}
            for _, watch, record, address in addressed
            if address.latest and watch is not None
        ]
        if latest:
            batch.run(hot.SUPERSEDE, latest)
        lanes: set[tuple[str, int]] = set()
        rows = [
            {
                "id": first + n,
                "event": event,
                "epoch": self.node.epoch,
                "lane": None if watch is None else watch.pk,
                "endpoint": address.endpoint,
                "sequence": record.sequence,
                "due": record.at,
                "_owner": self.node.number if address.take else None,
                "_behind": watch is not None and _is_known(lanes, (address.endpoint, watch.pk)),
            }
            for n, (event, watch, record, address) in enumerate(addressed)
        ]
        batch.run(hot.INSERT_DELIVERIES, rows)
        return batch.run(hot.WHICH_WAIT, [{"first": first, "last": first + len(rows) - 1}])

    # -- settle

    def _settle(self, batch: Batch, settlements: Sequence[Settlement]) -> Callable[[], list[Delivery | None]]:
        if not settlements:
            return list
        rows = [settle_row(settlement, self.node.number) for settlement in settlements]
        done = batch.run(hot.SETTLE, rows)
        tried = [attempt_row(s.delivery.id, s.attempt) for s in settlements if s.attempt is not None]
        if tried:
            batch.run(hot.INSERT_ATTEMPTS, tried)
        retried = [
            {"_endpoint": s.delivery.endpoint, "_lane": s.delivery.lane, "_now": s.at}
            for s in settlements
            if isinstance(s.verdict, Later) and releases(s)
        ]
        if retried:  # a newer state may have come meanwhile, from another node too
            batch.run(hot.OVERTAKE, retried)
        promoted = self._promote(batch, settlements)

        def read() -> list[Delivery | None]:
            if done.count != len(rows):
                raise StaleWrite
            following = {
                (next_.endpoint, next_.lane): next_ for rows in promoted for next_ in map(delivery_from, rows.rows())
            }
            return [following.get((s.delivery.endpoint, s.delivery.lane)) if s.take else None for s in settlements]

        return read

    def _promote(self, batch: Batch, settlements: Sequence[Settlement]) -> list[Result]:
        """Make the next of each lane ready; return at least those that this node takes at once."""
        lanes = [
            {
                "_endpoint": s.delivery.endpoint,
                "_lane": s.delivery.lane,
                "_due": s.at,
                "_owner": self.node.number if s.take else None,
            }
            for s in settlements
            if releases(s)
        ]
        if not lanes:
            return []
        promoted = batch.run(hot.PROMOTE, lanes)
        if not batch.follows:
            return [promoted]  # it will return them
        taken = [lane for lane in lanes if lane["_owner"] is not None] if promoted.count else []
        return [batch.run(hot.PROMOTED, [lane]) for lane in taken]


def releases(settlement: Settlement) -> bool:
    """Return whether the next delivery of the lane may go out; with `latest` it may replace one that failed."""
    return settlement.delivery.lane is not None and (settlement.latest or not isinstance(settlement.verdict, Later))


def _lanes(commits: Sequence[CommitOp], settlements: Sequence[Settlement]) -> Iterator[int]:
    """Yield the watches whose deliveries are added or released."""
    yield from (op.watch.pk for op in commits if op.watch is not None)
    yield from (s.delivery.lane for s in settlements if s.delivery.lane is not None and releases(s))


def _left_alone(
    records: Sequence[tuple[CommitOp, Record]], settlements: Sequence[Settlement]
) -> Iterator[tuple[str, Micros]]:
    """Yield endpoints, and when they will have a delivery without an owner."""
    for _, record in records:
        yield from ((address.endpoint, record.at) for address in record.addresses if not address.take)
    for settlement in settlements:
        match settlement.verdict:
            case Later(due=due):
                yield settlement.delivery.endpoint, due
            case _ if not settlement.take:
                yield settlement.delivery.endpoint, settlement.at


def _is_known(known: set[tuple[str, int]], lane: tuple[str, int]) -> bool:
    """Return whether a lane was seen before, and remember it."""
    before = len(known)
    known.add(lane)
    return len(known) == before


def _taken(
    commits: Sequence[CommitOp], records: Sequence[tuple[CommitOp, Record]], first: int, waiting: frozenset[int]
) -> list[list[Delivery]]:
    """Return of each commit the deliveries that are this node's to send now."""
    out: dict[int, list[Delivery]] = {id(op): [] for op in commits}
    number = first
    for op, record in records:
        for address in record.addresses:
            if address.take and number not in waiting:
                out[id(op)].append(fresh_delivery(number, op.watch, record, address))
            number += 1
    return [out[id(op)] for op in commits]
