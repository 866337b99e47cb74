"""Group commit: callers queue operations, one transaction takes all that wait, each caller resumes after its commit.

Statements run in one thread that owns one connection, so the event loop never waits for the disk. While the database
is away, operations with `hold` wait and are tried again. The others fail at once, so that their callers can say so. If
a COMMIT was cut off, every caller waits until it is known whether it succeeded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import structlog

from notifier.core.errors import NodeLost, StaleWrite, StoreUnavailable
from notifier.core.rhythm import Rhythm
from notifier.runtime.clock import boottime
from notifier.runtime.threads import OneThread
from notifier.store import statements as sql
from notifier.store.connection import Connection, Engine
from notifier.store.errors import is_conflict, is_outage, reason
from notifier.store.operations import CallOp, CommitOutcome, Committed, Operation, OperationFailed, StoreAway
from notifier.store.transaction import Transaction

log = structlog.get_logger(__name__)

T = TypeVar("T")

RHYTHM = 0.004  # seconds: the least time between the starts of two groups
RETRY_DELAY = 0.5  # seconds between tries while the database is away
MAX_CONFLICTS = 5  # times in a row; conflicts are rare, since every node locks in the same order
LONG = 10.0  # seconds that a group may take before the database counts as away
ENOUGH = 16  # operations that share a transaction well: more of them wait no longer, though the pace is not known yet
MAX_GROUP = 512  # operations in one transaction: bounds its time, and so everyone's wait


class _Entry(NamedTuple):
    """An operation in the queue, and its caller."""

    operation: Operation
    future: asyncio.Future[object]

    def resolve(self, result: object) -> None:
        """Give the caller its result."""
        if not self.future.cancelled():
            self.future.set_result(result)

    def refuse(self, error: Exception) -> None:
        """Raise an error in the caller."""
        if not self.future.cancelled():
            self.future.set_exception(error)


class Writer:
    """Runs operations in groups."""

    def __init__(self, engine: Engine, transaction: Transaction) -> None:
        self._engine = engine
        self._transaction = transaction
        self._connection: Connection | None = None  # used by the thread alone
        self._thread = OneThread(name="store-writer")
        self._queue: list[_Entry] = []
        self._wake = asyncio.Event()
        self._rhythm = Rhythm()
        self._begin: asyncio.Handle | None = None  # begins the next group, though nothing is urgent
        self._begin_at = 0.0  # loop time at which it does
        self._closing = False
        self._ending = False  # the last operation is queued
        self._doubt: dict[Operation, object] = {}  # results that hold if the last COMMIT succeeded
        self._losses = 0  # times that this node was declared dead
        self._signed = boottime()  # when the last committed transaction began; set by the thread
        self.available = True
        self._why = ""  # the store is not available
        self.renewed = self._signed  # seconds of boottime: this node's last sign of life is no older

    def gathering(self) -> float:
        """Count a change; return the seconds that it should wait for others: the faster they come, the fewer."""
        return self._rhythm.came(monotonic())

    def submit(self, operation: Operation, *, within: float = 0.0) -> asyncio.Future[Any]:
        """Run an operation in the next group; return the future of its result, which comes after the commit.

        It may wait for `within` seconds, for others to share a transaction with.
        Raises StoreUnavailable, and what the operation raises.
        """
        if self._closing or self._ending:
            raise StoreUnavailable("the store is closed")
        if not self.available and not operation.hold:
            raise StoreUnavailable(self._why)
        return self._enqueue(operation, within)

    async def call(
        self, call: Callable[[Connection], T], *, hold: bool = False, left: Callable[[T], T] | None = None
    ) -> T:
        """Call a function inside the next transaction; return its result after the commit.

        With `hold` it waits while the database is away. `left` makes the result of a node that was declared dead after
        the commit, from the result before.
        """
        result: T = await self.submit(CallOp(call, hold, left=left))
        return result

    async def probe(self) -> None:
        """Write without a change, and see that the database can grow. Raises StoreUnavailable."""
        await self.call(_probe)

    async def end(self, call: Callable[[Connection], object]) -> None:
        """Call a function after all queued operations, and accept no more. Call this once, then `close`."""
        last = self._enqueue(CallOp(call), 0.0)
        self._ending = True
        await last

    def _enqueue(self, operation: Operation, within: float) -> asyncio.Future[object]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        self._queue.append(_Entry(operation, future))
        if within <= 0 or len(self._queue) >= ENOUGH:
            self._wake.set()
        elif not self._wake.is_set():
            at = loop.time() + within
            if self._begin is None or at < self._begin_at:
                if self._begin is not None:
                    self._begin.cancel()
                # Of a time that is due already, uvloop makes a handle that does not know its time.
                self._begin, self._begin_at = loop.call_at(at, self._wake.set), at
        return future

    def _take_group(self) -> list[_Entry]:
        """Return the operations of the next group, which begins now."""
        self._wake.clear()
        if self._begin is not None:
            self._begin.cancel()
            self._begin = None
        group, self._queue = self._queue[:MAX_GROUP], self._queue[MAX_GROUP:]
        if self._queue:
            self._wake.set()
        return [entry for entry in group if not entry.future.cancelled()]

    async def run(
        self, *, lost: Callable[[], None] | None = None, seconds: Callable[[float], None] | None = None
    ) -> None:
        """Commit groups until closed.

        `lost` is called after this node was declared dead and joined anew, `seconds` with the time of each group.
        """
        loop, losses = asyncio.get_running_loop(), 0
        while not (self._closing and not self._queue):
            if not self._queue or not self._wake.is_set():
                await self._wake.wait()
            group = self._take_group()
            if not group:
                continue
            started = loop.time()
            operations = [entry.operation for entry in group]
            outcomes = await self._outcomes(self._thread.call(self._commit, operations))
            if self._losses != losses:
                losses = self._losses
                self._refuse_owned()
                if lost is not None:
                    lost()
            self.renewed = self._signed  # after `lost`: only now nothing is left that the lost node held
            outage = self._hand_out(group, outcomes)
            del group, operations, outcomes  # they may be large, and the next group may come late
            if outage is not None:
                await self._suspend(outage)
                continue
            if seconds is not None:
                seconds(loop.time() - started)
            if not self.available:
                self.available = True
                log.info("store.recovered")
            # A transaction costs the same for one operation as for ten, and its statements contend with the loop for
            # the interpreter: a rhythm of a few milliseconds halves the cost of a change at a thousand a second.
            await asyncio.sleep(max(0.0, started + RHYTHM - loop.time()))

    async def _outcomes(self, work: asyncio.Future[list[CommitOutcome]]) -> list[CommitOutcome]:
        """Wait for a group; if it takes too long, refuse the queued operations that need not wait."""
        overdue = asyncio.get_running_loop().call_later(LONG, self._refuse_all_that_need_not_wait)
        try:
            return await work
        finally:
            overdue.cancel()

    def _refuse_all_that_need_not_wait(self) -> None:
        outage = StoreUnavailable(f"a transaction has not ended for {LONG:g} seconds")
        self._declare(outage)
        queue, self._queue = self._queue, []
        for entry in queue:
            if entry.operation.hold:
                self._queue.append(entry)
            else:
                entry.refuse(outage)

    def _refuse_owned(self) -> None:
        """Refuse queued operations on rows of the node that was lost: this node may own the same rows anew."""
        queue, self._queue = self._queue, []
        for entry in queue:
            if entry.operation.owned:
                entry.refuse(StaleWrite())
            else:
                self._queue.append(entry)

    def _hand_out(self, group: Sequence[_Entry], outcomes: Sequence[CommitOutcome]) -> StoreUnavailable | None:
        """Give each caller its outcome; queue the held operations again, and return the outage if there is one."""
        outage: StoreUnavailable | None = None
        held: list[_Entry] = []
        for entry, outcome in zip(group, outcomes, strict=True):
            match outcome:
                case Committed(result=result):
                    entry.resolve(result)
                case OperationFailed(error=error):
                    entry.refuse(error)
                case StoreAway(error=error, in_doubt=in_doubt):
                    outage = error
                    if entry.operation.hold or in_doubt:
                        held.append(entry)
                    else:
                        entry.refuse(error)
        self._queue[:0] = held
        return outage

    def _declare(self, outage: StoreUnavailable) -> None:
        if self.available:
            self.available = False
            self._why = str(outage)
            log.error("store.unavailable", error=str(outage), hint="nothing is sent that is not saved; trying again")

    async def _suspend(self, outage: StoreUnavailable) -> None:
        """Wait before the next try. When closing, refuse the queued operations instead."""
        self._declare(outage)
        if self._closing:
            for entry in self._queue:
                entry.refuse(outage)
            self._queue.clear()
            return
        await asyncio.sleep(RETRY_DELAY)
        if not self._queue:  # no caller will find out that the database is back: write without one
            self._enqueue(CallOp(_probe), 0.0).add_done_callback(asyncio.Future.exception)
        self._wake.set()

    # -- in the thread

    def _commit(self, operations: Sequence[Operation]) -> list[CommitOutcome]:
        """Run a group in one transaction; if it fails for the sake of one operation, run each in its own.

        What was committed before the database went away keeps its outcome: it must not be done twice.
        """
        try:
            if self._doubt:
                return self._resolve_doubt(operations)
            return self._retry_conflicts(operations)
        except NodeLost:
            return self._join_anew(operations)
        except Exception as exc:
            if is_outage(exc):
                return [self._away(operation, exc) for operation in operations]
            if len(operations) == 1:  # the fault is its own
                return [OperationFailed(exc)]
        outcomes: list[CommitOutcome] = []
        for operation in operations:
            losses = self._losses
            match outcomes[-1:]:
                case [StoreAway(error=error)]:
                    new: list[CommitOutcome] = [self._away(operation, error)]
                case _:
                    new = self._commit([operation])
            outcomes = self._still_true(operations, outcomes, losses) + new
        return outcomes

    def _still_true(
        self, operations: Sequence[Operation], outcomes: Sequence[CommitOutcome], losses: int
    ) -> list[CommitOutcome]:
        """Return the outcomes of the first operations, as they are if the node has been lost since `losses`."""
        if self._losses == losses:
            return list(outcomes)
        return [
            Committed(operation.forfeit(outcome.result)) if isinstance(outcome, Committed) else outcome
            for operation, outcome in zip(operations, outcomes, strict=False)  # the later ones have none yet
        ]

    def _away(self, operation: Operation, exc: BaseException) -> StoreAway:
        error = StoreUnavailable(reason(exc))
        error.__cause__ = exc
        return StoreAway(error, in_doubt=operation in self._doubt)

    def _resolve_doubt(self, operations: Sequence[Operation]) -> list[CommitOutcome]:
        """Find out whether the COMMIT that was cut off succeeded, and repeat nothing of it if it did."""
        if not self._ask(self._transaction.node.landed):
            self._doubt.clear()
            return self._commit(operations)
        doubt, self._doubt = self._doubt, {}
        known = [operation for operation in operations if operation in doubt]
        rest = [operation for operation in operations if operation not in doubt]
        losses = self._losses
        fresh = iter(self._commit(rest) if rest else ())
        landed = iter(self._still_true(known, [Committed(doubt[operation]) for operation in known], losses))
        return [next(landed if operation in doubt else fresh) for operation in operations]

    def _join_anew(self, operations: Sequence[Operation]) -> list[CommitOutcome]:
        """Join again after this node was declared dead; refuse operations on rows that it owned before."""
        self._losses += 1
        began = boottime()
        try:
            joined = self._ask(self._transaction.node.join)
        except Exception as exc:
            if not is_outage(exc):
                raise
            return [self._away(operation, exc) for operation in operations]
        joined()
        self._signed = began
        rest = [operation for operation in operations if not operation.owned]
        fresh = iter(self._commit(rest) if rest else ())
        return [OperationFailed(StaleWrite()) if operation.owned else next(fresh) for operation in operations]

    def _ask(self, question: Callable[[Connection], T]) -> T:
        """Run one call in a transaction of its own."""
        connection = self._connected()
        try:
            with connection.begin():
                return question(connection)
        except BaseException as exc:
            if is_outage(exc):
                self._disconnect()
            raise

    def _retry_conflicts(self, operations: Sequence[Operation]) -> list[CommitOutcome]:
        """Run a group; again, if the database let another transaction go first."""
        for _ in range(MAX_CONFLICTS):
            try:
                return self._once(operations)
            except Exception as exc:
                if not is_conflict(exc):
                    raise
        return self._once(operations)

    def _once(self, operations: Sequence[Operation]) -> list[CommitOutcome]:
        connection, began = self._connected(), boottime()
        results: list[object] | None = None
        try:
            with connection.begin():
                results = self._transaction(connection, operations)
            self._signed = began
            return [Committed(result) for result in results]
        except BaseException as exc:
            self._transaction.rolled_back()
            if is_outage(exc):  # the connection's state is unknown: the next group takes a new one
                self._disconnect()
                if results is not None and self._transaction.node.doubtful:  # it broke during COMMIT
                    self._doubt = dict(zip(operations, results, strict=True))
            raise

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- the end

    def close(self) -> None:
        """Have `run` commit the queued operations and return."""
        self._closing = True
        self._wake.set()

    def shutdown(self) -> None:
        """Close the connection and end the thread, after `run` has returned. Blocks."""
        if self._begin is not None:
            self._begin.cancel()
        self._thread.end(self._disconnect)


def _probe(connection: Connection) -> None:
    """Write without a change, to see whether the database can be written, and can grow."""
    connection.prove_room()
    connection.execute(sql.TAKE_IDS, {"counter": "node", "count": 0})
