"""A store under load while its database fails; at the end each change is stored once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from store_rig import follow, move, running, settled
from structlog.typing import EventDict
from waits import until

from notifier.core.model import Watch
from notifier.store import DeliveryFilter, Store


def store_events(logs: list[EventDict]) -> list[str]:
    """Return the names of the logged events about the database."""
    return [str(line["event"]) for line in logs if str(line["event"]).startswith("store.")]


class Work:
    """Commits and settles changes of some watches as fast as possible; checks at the end that each was stored once."""

    def __init__(self, store: Store, watches: list[Watch]) -> None:
        self.store = store
        self.watches = {watch.pk: watch for watch in watches}
        self.delivered: set[int] = set()
        self.steps = 0
        self._stop = asyncio.Event()

    async def _follow(self, pk: int) -> None:
        while not self._stop.is_set():
            self.watches[pk], deliveries = await move(self.store, self.watches[pk], f"s{self.watches[pk].sequence}")
            self.steps += 1
            for delivery in deliveries:
                assert await self.store.outbox.settle(settled(delivery)) is None
                assert delivery.id not in self.delivered
                self.delivered.add(delivery.id)

    async def more(self, steps: int = 50) -> None:
        """Return once this number of further steps is acknowledged."""
        wanted_steps = self.steps + steps
        await until(lambda: self.steps >= wanted_steps)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Work inside the block, then compare the database with the acknowledged changes."""
        async with asyncio.TaskGroup() as tasks:
            for pk in self.watches:
                tasks.create_task(self._follow(pk))
            try:
                yield
                await self.more()
            finally:
                self._stop.set()
        assert await asyncio.to_thread(self._events) == [
            (watch.id, n) for watch in self.watches.values() for n in range(1, watch.sequence + 1)
        ]
        listed = await self.store.lists.deliveries(DeliveryFilter(), limit=1_000_000)
        assert sorted(item["id"] for item in listed) == sorted(self.delivered)
        assert {item["status"] for item in listed} <= {"delivered"}

    def _events(self) -> list[tuple[str, int]]:
        with self.store._database.reading.connect() as connection:
            rows = connection.execute(
                "SELECT w.id, e.sequence FROM events e JOIN watches w ON w.pk = e.watch ORDER BY w.pk, e.sequence"
            )
            return [(row.id, row.sequence) for row in rows]


@asynccontextmanager
async def working(url: str, watches: int = 10) -> AsyncIterator[Work]:
    """Run a store with work to do."""
    async with running(url) as store:
        work = Work(store, await follow(store, *map(str, range(watches))))
        async with work.going_on():
            await work.more()
            yield work
