"""A process that writes to a store until it is killed, and prints each write once it was acknowledged.

Lines are `watch PK SEQUENCE`, `delivery ID EVENT` and `done ID`, each printed after the store's method has returned.
"""

from __future__ import annotations

import asyncio
import os
import sys

from store_rig import T0, claim, follow, move, running, settled

from notifier.core.model import Delivery, Watch
from notifier.store import Store


def say(*words: object) -> None:
    """Print at once: a buffer dies with the process."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


async def work(store: Store, watch: Watch) -> None:
    """Move a watch and settle its deliveries, for ever."""
    while True:
        watch, deliveries = await move(store, watch, f"state {watch.sequence}", at=T0 + watch.sequence)
        say("watch", watch.pk, watch.sequence)
        for delivery in deliveries:
            await settle(store, delivery)


async def settle(store: Store, delivery: Delivery) -> None:
    """Settle a delivery and all that this releases."""
    todo: Delivery | None = delivery
    while todo is not None:
        say("delivery", todo.id, todo.event_id)
        released = await store.outbox.settle(settled(todo))
        say("done", todo.id)
        todo = released


async def main(url: str) -> None:
    """Go on from whatever an earlier run left."""
    async with running(url) as store, asyncio.TaskGroup() as tasks:
        watches = await follow(store, *map(str, range(25)))
        for delivery in await claim(store, now=2 * T0, room=1000):
            tasks.create_task(settle(store, delivery))
        for watch in watches:
            tasks.create_task(work(store, watch))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
