"""Group commit: writers queue, one transaction takes all that wait, each writer resumes after its commit.

Statements run in one thread that owns one connection; the loop never waits for the disk. While the database cannot be
written, kept operations (`hold`) wait and are tried again; the others fail at once, so that a caller with someone
waiting can say so. Only of those whose COMMIT was not answered everyone waits until it is known what became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
from sqlalchemy import Connection, Engine

from notifier.core.errors import NodeLost, StaleWrite, StoreUnavailable
from notifier.runtime.clock import boottime
from notifier.store.errors import InDoubt, is_conflict, is_outage, reason
from notifier.store.transacting import Operation, Transact

log = structlog.get_logger(__name__)

T = TypeVar("T")

RHYTHM = 0.004  # seconds from the beginning of a group to that of the next, at least
LINGER = 0.01  # seconds that a write in no hurry waits for company
RETRY_DELAY = 0.5  # seconds between tries while the database cannot be written
MAX_CONFLICTS = 5  # times in a row; they are rare, as everyone locks in the same order
LONG = 10.0  # seconds that a group may take before the database counts as away, and whoever need not wait is told
MAX_GROUP = 512  # operations in one transaction: bounds its time, and so everyone's wait


Waiting = tuple[Operation, asyncio.Future[object]]


class GroupCommit:
    """Runs operations in groups."""

    def __init__(self, engine: Engine, transact: Transact, probe: Operation) -> None:
        """Make ready; `probe` is a held operation that writes without changing anything."""
        self._engine = engine
        self._transact = transact
        self._probe = probe
        self._connection: Connection | None = None  # the thread's alone
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._waiting: list[Waiting] = []
        self._wake = asyncio.Event()
        self._linger: asyncio.TimerHandle | None = None
        self._closing = False
        self._ending = False  # the last operation is queued
        self._doubt: dict[int, tuple[Operation, object]] = {}  # by id: results that hold if the last COMMIT came true
        self._losses = 0  # times that the node was lost
        self._signed = boottime()  # when the last transaction that was committed began; the thread's
        self.available = True
        self.renewed = self._signed  # as far as the loop knows: the node's last sign of life is no older
        self.seconds: Callable[[float], None] = lambda _: None  # told how long each group took
        self.lost: Callable[[], None] = lambda: None  # told that this node was taken for dead, and is another now

    async def submit(self, operation: Operation, *, urgent: bool = True) -> object:
        """Run an operation in the next group; return its result once that is committed.

        `urgent=False`: it may wait some milliseconds for others to share a transaction with.
        """
        if self._closing or self._ending:
            raise StoreUnavailable("the store is closed")
        if not self.available and not operation.hold:
            raise StoreUnavailable
        return await self._queue(operation, urgent=urgent)

    async def end(self, operation: Operation) -> object:
        """Run an operation after all that wait, and take no more; `close` follows. To be called once."""
        last = self._queue(operation, urgent=True)
        self._ending = True
        return await last

    def _queue(self, operation: Operation, *, urgent: bool) -> asyncio.Future[object]:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, future))
        if urgent:
            self._wake.set()
        elif self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(LINGER, self._end_linger)
        return future

    def _end_linger(self) -> None:
        self._linger = None
        self._wake.set()

    async def run(self) -> None:
        """Commit groups until closed."""
        loop, losses = asyncio.get_running_loop(), 0
        while not (self._closing and not self._waiting):
            if not self._waiting or not self._wake.is_set():
                await self._wake.wait()
            self._wake.clear()
            group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
            if self._waiting:
                self._wake.set()
            group = [(operation, future) for operation, future in group if not future.cancelled()]
            if not group:
                continue
            started = loop.time()
            operations = [operation for operation, _ in group]
            results = await self._patiently(loop.run_in_executor(self._thread, self._commit, operations))
            if self._losses != losses:
                losses = self._losses
                self._give_up_owned()
                self.lost()
            self.renewed = self._signed  # after `lost`: only now is nothing left that the node before held
            outage = self._hand_out(group, results)
            if outage is not None:
                await self._suspend(outage)
                continue
            self.seconds(loop.time() - started)
            if not self.available:
                self.available = True
                log.info("store.recovered")
            # A transaction costs the same for one writer as for ten, and its statements contend with the loop for the
            # interpreter: a rhythm of a few milliseconds halves the cost of a change at a thousand of them a second.
            await asyncio.sleep(max(0.0, started + RHYTHM - loop.time()))

    async def _patiently(self, work: asyncio.Future[list[object]]) -> list[object]:
        """Wait for a group's results; tell whoever need not wait for the database if they are long in coming."""
        done, _ = await asyncio.wait({work}, timeout=LONG)
        if not done:
            outage = StoreUnavailable(f"a transaction has not ended for {LONG:g} seconds")
            self._declare(outage)
            for operation, future in self._waiting:
                if not operation.hold:
                    _resolve(future, outage)
            self._waiting = [(operation, future) for operation, future in self._waiting if operation.hold]
        return await work

    def _give_up_owned(self) -> None:
        """Refuse what rests on what the node owned before it was taken for dead: it may own it anew by now."""
        waiting, self._waiting = self._waiting, []
        for operation, future in waiting:
            if operation.owned:
                _resolve(future, StaleWrite())
            else:
                self._waiting.append((operation, future))

    def _hand_out(self, group: Sequence[Waiting], results: Sequence[object]) -> StoreUnavailable | None:
        """Give each writer its result, put those that wait for the database back in front, and return what ails it."""
        outage: StoreUnavailable | None = None
        held: list[Waiting] = []
        for (operation, future), result in zip(group, results, strict=True):
            if isinstance(result, StoreUnavailable):
                outage = result
                if operation.hold or isinstance(result, InDoubt):
                    held.append((operation, future))
                    continue
            _resolve(future, result)
        self._waiting[:0] = held
        return outage

    def _declare(self, outage: StoreUnavailable) -> None:
        if self.available:
            self.available = False
            log.error("store.unavailable", error=str(outage), hint="nothing is sent that is not saved; trying again")

    async def _suspend(self, outage: StoreUnavailable) -> None:
        """Wait a little before the next try; at the end, wait no more."""
        self._declare(outage)
        if self._closing:
            for _, future in self._waiting:
                _resolve(future, outage)
            self._waiting.clear()
            return
        await asyncio.sleep(RETRY_DELAY)
        if not self._waiting:  # nobody else will find out that it can be written again
            unasked: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            unasked.add_done_callback(asyncio.Future.exception)  # nobody waits for it
            self._waiting.append((self._probe, unasked))
        self._wake.set()

    def _commit(self, operations: Sequence[Operation]) -> list[object]:
        """Run a group in one transaction; where that fails for one operation's sake, each in its own.

        What was committed before the database went away keeps its result: it must not be done twice.
        """
        try:
            if self._doubt:
                return self._resolve_doubt(operations)
            return self._tenaciously(operations)
        except NodeLost:
            return self._begin_anew(operations)
        except Exception as exc:
            if is_outage(exc):
                return [self._away(operation, exc) for operation in operations]
            if len(operations) == 1:  # its own fault: it is handed to whoever asked for it
                return [exc]
        results: list[object] = []
        for operation in operations:
            last, losses = results[-1] if results else None, self._losses
            result = [self._away(operation, last)] if isinstance(last, StoreUnavailable) else self._commit([operation])
            results = self._still(operations, results, losses) + result
        return results

    def _still(self, operations: Iterable[Operation], results: Iterable[object], losses: int) -> list[object]:
        """Return what holds of results that were committed when the node had been lost so many times."""
        if self._losses == losses:
            return list(results)
        pairs = zip(operations, results, strict=False)  # those that come later have none yet
        return [result if isinstance(result, BaseException) else op.forfeit(result) for op, result in pairs]

    def _away(self, operation: Operation, exc: BaseException) -> StoreUnavailable:
        away = (InDoubt if id(operation) in self._doubt else StoreUnavailable)(reason(exc))
        away.__cause__ = exc
        return away

    def _resolve_doubt(self, operations: Sequence[Operation]) -> list[object]:
        """Find out whether the transaction whose COMMIT was cut off came true; do nothing of it twice."""
        if not self._asked(self._transact.landed):
            self._doubt.clear()
            return self._commit(operations)
        doubt, self._doubt = self._doubt, {}
        known = [operation for operation in operations if id(operation) in doubt]
        rest = [operation for operation in operations if id(operation) not in doubt]
        losses = self._losses
        fresh = iter(self._commit(rest) if rest else ())
        landed = iter(self._still(known, [doubt[id(operation)][1] for operation in known], losses))
        return [next(landed if id(operation) in doubt else fresh) for operation in operations]

    def _begin_anew(self, operations: Sequence[Operation]) -> list[object]:
        """Join again after the node was taken for dead: what rested on what it owned has come to nothing."""
        self._losses += 1
        began = boottime()
        try:
            joined = self._asked(self._transact.rejoin)
        except Exception as exc:
            if not is_outage(exc):
                raise
            return [self._away(operation, exc) for operation in operations]
        joined()
        self._signed = began
        rest = [operation for operation in operations if not operation.owned]
        fresh = iter(self._commit(rest) if rest else ())
        return [StaleWrite() if operation.owned else next(fresh) for operation in operations]

    def _asked(self, question: Callable[[Connection], T]) -> T:
        connection = self._connected()
        try:
            with connection.begin():
                return question(connection)
        except BaseException as exc:
            if is_outage(exc):
                self._disconnect()
            raise

    def _tenaciously(self, operations: Sequence[Operation]) -> list[object]:
        """Run a group; again, if the database chose it to give way to another's."""
        for _ in range(MAX_CONFLICTS):
            try:
                return self._once(operations)
            except Exception as exc:
                if not is_conflict(exc):
                    raise
        return self._once(operations)

    def _once(self, operations: Sequence[Operation]) -> list[object]:
        connection, began = self._connected(), boottime()
        results: list[object] | None = None
        try:
            with connection.begin():
                results = self._transact(connection, operations)
            self._signed = began
            return results
        except BaseException as exc:
            self._transact.rolled_back()
            if is_outage(exc):  # nothing is known of the connection's state: the next group takes a new one
                self._disconnect()
                if results is not None and self._transact.doubtful:  # it broke in COMMIT
                    self._doubt = {id(op): (op, result) for op, result in zip(operations, results, strict=True)}
            raise

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Have `run` commit what waits and return."""
        self._closing = True
        self._wake.set()

    def shutdown(self) -> None:
        """Let go of the connection and the thread; after `run` has ended."""
        if self._linger is not None:
            self._linger.cancel()
        self._thread.submit(self._disconnect).result()
        self._thread.shutdown(wait=True)


def _resolve(future: asyncio.Future[object], result: object) -> None:
    if future.cancelled():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
