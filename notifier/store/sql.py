"""The store on SQL: each method is one operation of the group commit, or one reading in a thread of its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, TypeVar, cast

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import DBAPIError

from notifier.core.errors import StoreUnavailable
from notifier.core.model import Delivery, EndpointState, Json, Micros, NewWatch, Record, Watch
from notifier.interfaces import Applied, Claim, DeliveryFilter, EventFilter, Settlement, WatchFilter
from notifier.store import browsing, opening, pruning, reading, wanting
from notifier.store import statements as sql
from notifier.store.group import GroupCommit
from notifier.store.operations import CallOp, CommitOp, SettleOp, Transaction
from notifier.store.rows import watch_from
from notifier.store.schema import endpoints

T = TypeVar("T")


class SqlStore:
    """The Store on SQLite. `run` has to be running for anything to be written."""

    def __init__(self, path: Path, lock: IO[bytes]) -> None:
        self._lock = lock
        self._writing = opening.engine(path, writable=True)
        self._reading = opening.engine(path, writable=False)
        with self._writing.begin() as connection:
            self._transaction = Transaction(_new_node(connection))
        self._group = GroupCommit(self._writing, self._transaction, CallOp(_probe, hold=True))
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-reader")

    @classmethod
    def open(cls, url: str) -> SqlStore:
        """Open the database, creating or migrating it. Blocks. Raises StoreError."""
        path = opening.sqlite_path(opening.parse(url))
        lock = opening.lock(path)
        try:
            opening.prepare(path)
            return cls(path, lock)
        except (DBAPIError, sqlite3.Error) as exc:
            lock.close()
            raise opening.refusal(path, exc) from exc
        except BaseException:
            lock.close()
            raise

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
        """Have `run` finish; `shutdown` follows once it has."""
        self._group.close()

    def shutdown(self) -> None:
        """Let go of the database; after `run` has ended."""
        self._group.shutdown()
        self._reader.shutdown(wait=True)
        self._writing.dispose()
        self._reading.dispose()
        self._lock.close()

    # -- watches

    async def apply(self, watches: Sequence[NewWatch], *, origin: str, now: Micros, replace: bool = False) -> Applied:
        """Want these watches; with `replace`, of this origin no others."""
        ids = self._transaction.ids
        return await self._write(lambda connection: wanting.apply(connection, ids, watches, origin, now, replace))

    async def remove(self, source: str, task_id: str, *, now: Micros) -> Watch | None:
        """Want a watch no longer."""
        return await self._write(lambda connection: wanting.remove(connection, source, task_id, now))

    async def claim_watches(self, limit: int) -> list[Watch]:
        """Take open watches, oldest first."""
        me = self._transaction.node

        def claim(connection: Connection) -> list[Watch]:
            rows = connection.execute(sql.CLAIM_WATCHES, {"limit": limit, "_me": me}).all()
            return sorted(map(watch_from, rows), key=lambda watch: (watch.created_at, watch.pk))

        return await self._write(claim)

    async def release_watches(self, watches: Sequence[Watch]) -> None:
        """Let go of watches."""
        rows = [{"_pk": watch.pk, "_me": self._transaction.node} for watch in watches]
        if not rows:
            return
        await self._write(lambda connection: connection.execute(sql.RELEASE_WATCH, rows), hold=True)

    async def commit(self, watch: Watch | None, records: Sequence[Record]) -> list[Delivery]:
        """Save a step with its events."""
        return cast("list[Delivery]", await self._group.submit(CommitOp(watch, records)))

    # -- deliveries

    async def claim_deliveries(self, room: Mapping[str, int], *, now: Micros) -> Claim:
        """Take deliveries that are due."""
        wanted = tuple(room.items())
        taken, next_due = await self._write(lambda c: self._transaction.claim_deliveries(c, wanted, now))
        return Claim(deliveries=tuple(taken), next_due=next_due)

    async def settle(self, settlement: Settlement) -> Delivery | None:
        """Save what became of a delivery."""
        return cast("Delivery | None", await self._group.submit(SettleOp(settlement), urgent=False))

    async def retry(self, which: DeliveryFilter, *, now: Micros) -> int:
        """Make dead deliveries ready again."""
        return await self._write(lambda connection: reading.revive(connection, which, now))

    # -- endpoints

    async def endpoint_states(self) -> list[EndpointState]:
        """Return the kept health of every endpoint."""
        return await self._read(
            lambda connection: [EndpointState(**row._mapping) for row in connection.execute(select(endpoints))]
        )

    async def save_endpoint_state(self, state: EndpointState) -> None:
        """Keep the health of an endpoint."""
        row = {
            "name": state.name,
            "fingerprint": state.fingerprint,
            "disabled_at": state.disabled_at,
            "reason": state.reason,
            "failing_since": state.failing_since,
        }

        def save(connection: Connection) -> None:
            connection.execute(delete(endpoints).where(endpoints.c.name == state.name))
            connection.execute(insert(endpoints), row)

        await self._write(save, hold=True)

    # -- looking and tidying

    async def summary(self) -> Json:
        """Count watches and deliveries."""
        return await self._read(reading.summary)

    async def deliveries(self, which: DeliveryFilter, *, limit: int, before: int | None = None) -> list[Json]:
        """List deliveries, newest first."""
        return await self._read(lambda connection: reading.deliveries_page(connection, which, limit, before))

    async def watches(self, which: WatchFilter, *, limit: int, before: int | None = None) -> list[Json]:
        """List watches, newest first."""
        return await self._read(lambda connection: browsing.watches_page(connection, which, limit, before))

    async def watch(self, source: str, task_id: str) -> Json | None:
        """Show a watch with what happened to it."""
        return await self._read(lambda connection: browsing.watch_told(connection, source, task_id))

    async def events(
        self, which: EventFilter, *, limit: int, before: int | None = None, after: int | None = None
    ) -> list[Json]:
        """List events."""
        return await self._read(lambda connection: browsing.events_page(connection, which, limit, before, after))

    async def prune(self, before: Micros) -> int:
        """Forget what ended and was settled before, in transactions of bounded size."""
        total = 0
        for forget in (pruning.forget_events, pruning.forget_watches):
            after: pruning.Place | None = pruning.START
            while after is not None:
                count, after = await self._write(partial(forget, before=before, after=after))
                total += count
        return total

    async def _write(self, call: Callable[[Connection], T], *, hold: bool = False) -> T:
        return cast(T, await self._group.submit(CallOp(call, hold)))

    async def _read(self, call: Callable[[Connection], T]) -> T:
        def read() -> T:
            try:
                with self._reading.connect() as connection:
                    return call(connection)
            except DBAPIError as exc:
                raise StoreUnavailable(str(exc.orig)) from exc

        return await asyncio.get_running_loop().run_in_executor(self._reader, read)


def _new_node(connection: Connection) -> int:
    """Number this run, and free what an earlier one had claimed: on SQLite there is no other."""
    number = connection.execute(sql.TAKE_IDS, {"counter": "node", "count": 1}).scalar_one()
    connection.execute(sql.FREE_WATCHES)
    connection.execute(sql.FREE_DELIVERIES)
    return int(number)


def _probe(connection: Connection) -> None:
    """Write, to see whether that is possible; change nothing."""
    connection.execute(sql.TAKE_IDS, {"counter": "node", "count": 0})
