"""The store on SQLite or PostgreSQL: its facets by subject, its life, and what the whole program asks of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

import structlog

from notifier.core.errors import StoreUnavailable
from notifier.core.model import Micros
from notifier.runtime.clock import boottime
from notifier.store import pruning
from notifier.store.clock_memory import ClockMemory
from notifier.store.cluster import Nodes
from notifier.store.connection import Connection
from notifier.store.database import Database, open_database
from notifier.store.endpoints import Endpoints
from notifier.store.lists import Lists
from notifier.store.messages import Messages
from notifier.store.mutes import Mutes
from notifier.store.node import leave
from notifier.store.outbox import Outbox
from notifier.store.reader import Reader
from notifier.store.transaction import Transaction
from notifier.store.watches import Watches
from notifier.store.writer import Writer

log = structlog.get_logger(__name__)


class Store:
    """The durable memory of watches, events and deliveries.

    A method of a facet that writes returns after its commit; one that raises has changed nothing. StoreUnavailable
    means that the database cannot be used for now. Nothing is written unless `run` is running.
    """

    def __init__(self, database: Database, *, timeout: float) -> None:
        self._database = database
        self._timeout = timeout
        self._node = database.node
        self._left = False  # the node has left, or tried to
        transaction = Transaction(database.node)
        self._writer = Writer(database.writing, transaction)
        self._reader = Reader(database.reading)
        self.watches = Watches(self._writer, transaction)
        self.outbox = Outbox(self._writer, self._reader, transaction)
        self.endpoints = Endpoints(self._writer, self._reader, transaction)
        self.lists = Lists(self._reader)
        self.messages = Messages(self._writer, self._reader)
        self.mutes = Mutes(self._writer, self._reader)
        # None: the clock is the database's.
        self.clock = None if database.shared else ClockMemory(self._writer)
        self.nodes = Nodes(self._writer, self._node) if database.shared else None  # None: no other node can join

    @classmethod
    def open(cls, url: str, *, name: str = "notifier", timeout: float = 10.0, migrate: bool = False) -> Self:
        """Open the database, and join it as the node of that name. Blocks. Raises StoreError.

        SQLite is created and migrated where that is due; PostgreSQL with `migrate`. A node that shares a PostgreSQL is
        declared dead after `timeout` seconds without a sign of life.
        """
        return cls(open_database(url, name=name, timeout=timeout, migrate=migrate), timeout=timeout)

    @property
    def number(self) -> int:
        """Return the number of this node. It changes when the node was declared dead and joins anew."""
        return self._node.number

    def holds(self) -> bool:
        """Return whether no other node can have taken over the rows that this node owns."""
        return not self._database.shared or self._writer.renewed + self._timeout > boottime()

    @property
    def available(self) -> bool:
        """Return whether the last write succeeded."""
        return self._writer.available

    async def probe(self) -> None:
        """See whether the database can be written. Raises StoreUnavailable."""
        await self._writer.probe()

    async def prune(self, before: Micros) -> int:
        """Delete what ended and was settled before; return the number of rows. Raises StoreUnavailable."""
        return await pruning.prune(self._writer, before)

    async def run(
        self, *, lost: Callable[[], None] | None = None, seconds: Callable[[float], None] | None = None
    ) -> None:
        """Write until closed.

        `lost` is called when this node was declared dead: it owns nothing any more, and has another number.
        `seconds` is called with the time that each group of operations took.
        """
        await self._writer.run(lost=lost, seconds=seconds)

    async def close(self) -> None:
        """Release the rows that this node owns, and have `run` finish. Call `shutdown` after that."""
        if self._database.shared and self.available and not self._left:
            self._left = True
            try:
                # It may stay unknown whether a COMMIT succeeded. The others take over after the timeout anyway.
                async with asyncio.timeout(self._timeout):
                    await self._writer.end(self._leave)
            except (StoreUnavailable, TimeoutError) as exc:
                error = str(exc) or f"no answer within {self._timeout:g} s"
                log.warning("node.not_left", error=error, hint="the others take over after node.timeout")
        self._writer.close()

    def _leave(self, connection: Connection) -> None:
        leave(connection, self._node.number)

    def shutdown(self) -> None:
        """Close the database, after `run` has ended. Blocks."""
        self._reader.shutdown()  # before the writer: the last connection to SQLite tidies its log up
        self._writer.shutdown()
        self._database.close()
