"""The store on SQL: each method is one operation of the group commit, or one reading in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar, cast

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from notifier.core.errors import StoreUnavailable
from notifier.core.model import Delivery, EndpointState, Micros, NewWatch, Record, Watch
from notifier.runtime.clock import boottime
from notifier.store import callbacks, delivery_lists, endpoints, filesets, lists, tidying
from notifier.store import recovery as recoveries
from notifier.store import statements as sql
from notifier.store import watches as wanted
from notifier.store.cluster import Nodes
from notifier.store.database import Database, open_database
from notifier.store.errors import reason
from notifier.store.items import DeliveryDetail, DeliveryItem, EventItem, Summary, WatchDetail, WatchItem
from notifier.store.node import Member, leave, named
from notifier.store.rows import watch_from
from notifier.store.transaction import CallOp, CommitOp, SettleOp, Transaction
from notifier.store.values import (
    CallbackClaim,
    CallbackHealth,
    ChangedEndpoint,
    DeliveryClaim,
    DeliveryFilter,
    EndpointChange,
    EventFilter,
    Recovery,
    Settlement,
    WatchChanges,
    WatchFilter,
)
from notifier.store.writer import GroupCommit

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_RIVALS = 5  # times that other nodes may want the same watches in the very moment

MAX_REVIVED = 500  # dead deliveries made ready in one transaction: others wait for it


class Store:
    """The Store on SQLite or PostgreSQL. `run` has to be running for anything to be written."""

    def __init__(self, database: Database, *, timeout: float) -> None:
        self._database = database
        self._timeout = timeout
        self._node = database.node
        self._left = False  # the node has, or tries to
        self._transaction = Transaction(database.node)
        self._group = GroupCommit(database.writing, self._transaction, CallOp(_probe, hold=True))
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._counter = ThreadPoolExecutor(1, thread_name_prefix="store-counter")  # for what may take seconds

    @classmethod
    def open(cls, url: str, *, name: str = "notifier", timeout: float = 10.0, migrate: bool = False) -> Store:
        """Open the database, and join it as the node of that name. Blocks. Raises StoreError.

        SQLite is created and migrated where that is due; PostgreSQL with `migrate`. A node that shares a PostgreSQL is
        taken for dead after `timeout` seconds without a sign of life.
        """
        return cls(open_database(url, name=name, timeout=timeout, migrate=migrate), timeout=timeout)

    @property
    def nodes(self) -> Nodes | None:
        """Return the nodes that share this store; None: there are no others."""
        return Nodes(self._node, self._write) if self._database.shared else None

    @property
    def number(self) -> int:
        """Return the number of this node; another one after it was taken for dead."""
        return self._node.number

    def holds(self) -> bool:
        """Say whether nobody else can have taken over by now what this node owns."""
        return not self._database.shared or self._group.renewed + self._timeout > boottime()

    def on_lost(self, lost: Callable[[], None]) -> None:
        """Have `lost` told when this node was taken for dead: it owns nothing any more, and has another number."""
        self._group.lost = lost

    @property
    def available(self) -> bool:
        """Say whether the last write went through."""
        return self._group.available

    def observe_commits(self, seconds: Callable[[float], None]) -> None:
        """Have `seconds` told how long each group took."""
        self._group.seconds = seconds

    async def run(self) -> None:
        """Write until closed."""
        await self._group.run()

    async def close(self) -> None:
        """Let go of what this node owns and have `run` finish; `shutdown` follows once it has."""
        if self._database.shared and self.available and not self._left:
            self._left = True
            try:
                # Whether a COMMIT came true may stay unknown. After its timeout the others take over anyway.
                async with asyncio.timeout(self._timeout):
                    await self._group.end(CallOp(lambda connection: leave(connection, self._node.number)))
            except (StoreUnavailable, TimeoutError) as exc:
                error = str(exc) or f"no answer within {self._timeout:g} s"
                log.warning("node.not_left", error=error, hint="the others take over after node.timeout")
        self._group.close()

    def shutdown(self) -> None:
        """Let go of the database; after `run` has ended."""
        self._reader.shutdown(wait=True)
        self._counter.shutdown(wait=True)
        self._database.reading.dispose()  # before the writer, who tidies SQLite's log up if it is the last to go
        self._group.shutdown()
        self._database.close()

    # -- watches

    async def apply(
        self, watches: Sequence[NewWatch], *, origin: str, now: Micros, replace: bool = False, insist: bool = True
    ) -> WatchChanges:
        """Want these watches; with `replace`, of this origin no others."""
        # With `replace` they state the whole, and other nodes may state another.
        digest = await asyncio.to_thread(filesets.digest_of, watches) if replace and self._database.shared else ""

        def apply(connection: Connection) -> WatchChanges:
            if digest and isinstance(self._node, Member):
                newer = filesets.put_in_force(connection, self._node, digest, now, insist=insist)
                if newer is not None:
                    return WatchChanges(newer=newer)
            applied = wanted.apply(connection, self._transaction.ids, watches, origin, now, replace)
            self._tell_changed(connection, [*applied.changed, *applied.removed])
            if applied.added:
                self._node.tell(connection, watches=True)
            return applied

        for _ in range(MAX_RIVALS):
            try:
                return await self._write(apply)
            except (IntegrityError, wanted.Rivaled):  # another node has just wanted one of them too: now it is known
                continue
        return await self._write(apply)

    async def remove(self, source: str, task_id: str, *, now: Micros) -> Watch | None:
        """Want a watch no longer."""

        def remove(connection: Connection) -> Watch | None:
            removed = wanted.remove(connection, source, task_id, now)
            self._tell_changed(connection, [removed] if removed is not None else [])
            return removed

        return await self._write(remove)

    async def claim_watches(self, limit: int, sources: Sequence[str] | None = None) -> list[Watch]:
        """Take open watches, oldest first."""

        def claim(connection: Connection) -> list[Watch]:
            given = {"limit": limit, "_me": self._node.number}
            if sources is None:
                rows = connection.execute(sql.CLAIM_WATCHES, given).all()
            else:
                rows = connection.execute(sql.CLAIM_WATCHES_OF, given | {"sources": list(sources)}).all()
            if rows:
                self._node.holds_more(connection, len(rows))
            return sorted(map(watch_from, rows), key=lambda watch: (watch.created_at, watch.pk))

        return await self._write(claim, left=lambda _: [])

    async def release_watches(self, watches: Sequence[Watch]) -> None:
        """Let go of watches."""
        rows = [{"_pk": watch.pk, "_me": self._node.number} for watch in watches]

        def release(connection: Connection) -> None:
            wanted.in_pieces(connection, sql.RELEASE_WATCH, rows)
            self._node.holds_more(connection, -len(rows))
            self._node.tell(connection, watches=True)

        if rows:
            await self._write(release, hold=True)

    def _tell_changed(self, connection: Connection, watches: Sequence[Watch]) -> None:
        """Have the nodes that follow them look at watches again."""
        if watches:
            self._node.tell(connection, changed=named([watch.pk for watch in watches]))

    async def commit(self, watch: Watch | None, records: Sequence[Record]) -> list[Delivery]:
        """Save a step with its events."""
        return cast("list[Delivery]", await self._group.submit(CommitOp(watch, records)))

    # -- deliveries

    async def claim_deliveries(self, room: Mapping[str, int], *, now: Micros) -> DeliveryClaim:
        """Take deliveries that are due."""
        wanted = tuple(room.items())
        taken, next_due = await self._write(
            lambda c: self._transaction.claim_deliveries(c, wanted, now), left=lambda claim: ([], claim[1])
        )
        return DeliveryClaim(deliveries=tuple(taken), next_due=next_due)

    async def settle(self, settlement: Settlement) -> Delivery | None:
        """Save what became of a delivery."""
        return cast("Delivery | None", await self._group.submit(SettleOp(settlement), urgent=False))

    async def retry(self, which: DeliveryFilter, *, now: Micros) -> int:
        """Make dead deliveries ready again, in transactions of bounded size."""
        ids = await self._read(lambda connection: delivery_lists.dead(connection, which))
        total = 0
        for start in range(0, max(len(ids), 1), MAX_REVIVED):  # once at least: who cannot write says so
            some = ids[start : start + MAX_REVIVED]
            total += await self._write(partial(self._revive, ids=some, now=now))
        return total

    def _revive(self, connection: Connection, ids: Sequence[int], now: Micros) -> int:
        if self._database.shared:
            self._node.keep_order(connection, delivery_lists.lanes(connection, ids))
            self._node.tell(connection, deliveries=True)
        return delivery_lists.revive(connection, ids, now)

    async def hasten(self, recovery: Recovery) -> int:
        """Bring forward what failed during an outage, in transactions of bounded size."""
        place, more = recoveries.start(recovery), True
        while more:
            place, more = await self._write(
                partial(recoveries.bring_forward, recovery=recovery, after=place), hold=True
            )
        return place.moved

    # -- endpoints

    async def take_callbacks(self, limit: int, *, now: Micros) -> CallbackClaim:
        """Take destinations in hand of which deliveries are due."""
        return await self._write(
            lambda c: callbacks.take(c, self._node.number, limit, now), hold=True, left=lambda _: CallbackClaim()
        )

    async def leave_callbacks(self, left: Mapping[str, CallbackHealth], *, now: Micros) -> None:
        """Let go of destinations."""
        await self._write(lambda c: callbacks.leave(c, self._node.number, left, now), hold=True)

    async def endpoint_states(self) -> list[EndpointState]:
        """Return the kept health of every endpoint."""
        return await self._read(endpoints.states)

    async def change_endpoint(self, change: EndpointChange, records: Sequence[Record] = ()) -> ChangedEndpoint:
        """Change what is kept of an endpoint, and save operators' events with it."""

        def save(connection: Connection) -> ChangedEndpoint:
            before, after, done = endpoints.change(connection, change)
            deliveries: list[Delivery] = []
            if done:
                deliveries = self._transaction.append(connection, records)
                self._node.tell(connection, endpoints=True)
            return ChangedEndpoint(before=before, after=after, done=done, deliveries=tuple(deliveries))

        return await self._write(save, hold=True, left=lambda changed: replace(changed, deliveries=()))

    # -- looking and tidying

    async def summary(self) -> Summary:
        """Count watches and deliveries."""
        return await self._read(delivery_lists.summary, self._counter)

    async def deliveries(self, which: DeliveryFilter, *, limit: int, before: int | None = None) -> list[DeliveryItem]:
        """List deliveries, newest first."""
        return await self._read(lambda connection: delivery_lists.deliveries_page(connection, which, limit, before))

    async def delivery(self, number: int) -> DeliveryDetail | None:
        """Show a delivery with its body and attempts; None: there is none."""
        return await self._read(lambda connection: delivery_lists.delivery(connection, number))

    async def watches(self, which: WatchFilter, *, limit: int, before: int | None = None) -> list[WatchItem]:
        """List watches, newest first."""
        return await self._read(lambda connection: lists.watches_page(connection, which, limit, before))

    async def watch(self, source: str, task_id: str) -> WatchDetail | None:
        """Show a watch with what happened to it."""
        return await self._read(lambda connection: lists.watch_told(connection, source, task_id))

    async def events(
        self,
        which: EventFilter,
        *,
        limit: int,
        before: int | None = None,
        after: int | None = None,
        in_order: bool = False,
    ) -> list[EventItem]:
        """List events."""
        return await self._read(lambda c: lists.events_page(c, which, limit, before, after, in_order))

    async def prune(self, before: Micros) -> int:
        """Forget what ended and was settled before, in transactions of bounded size."""
        total = 0
        for forget in (tidying.forget_events, tidying.forget_watches):
            after: tidying.Place | None = tidying.START
            while after is not None:
                count, after = await self._write(partial(forget, before=before, after=after))
                total += count
        name: str | None = ""
        while name is not None:
            count, name = await self._write(partial(callbacks.forget, before=before, after=name))
            total += count
        return total

    async def _write(
        self, call: Callable[[Connection], T], *, hold: bool = False, left: Callable[[T], T] | None = None
    ) -> T:
        return cast(T, await self._group.submit(CallOp(call, hold, left=left)))

    async def _read(self, call: Callable[[Connection], T], thread: ThreadPoolExecutor | None = None) -> T:
        def read() -> T:
            try:
                with self._database.reading.connect() as connection:
                    try:
                        return call(connection)
                    except DBAPIError:
                        connection.invalidate()  # the next reading takes a new one
                        raise
            except DBAPIError as exc:
                raise StoreUnavailable(reason(exc)) from exc

        return await asyncio.get_running_loop().run_in_executor(thread or self._reader, read)


def _probe(connection: Connection) -> None:
    """Write, to see whether that is possible; change nothing."""
    connection.execute(sql.TAKE_IDS, {"counter": "node", "count": 0})
