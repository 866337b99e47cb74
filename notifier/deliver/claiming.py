"""When the store is asked for deliveries that are due, and for how many to which endpoint.

It is asked when a queue has room and something may be due for it: news has come, or a time. What nobody announced is
looked for all the same, every so often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from notifier.core.errors import StoreUnavailable
from notifier.core.model import Delivery, Micros
from notifier.deliver.endpoint_queue import EndpointQueue
from notifier.store import Store

LOOK_AGAIN = 10.0  # seconds between looks for deliveries that nobody announced
AFTER_OUTAGE = 1.0  # seconds until the store is asked again after it could not answer


class Claiming:
    """Claims for the queues what they have room for."""

    def __init__(
        self,
        *,
        store: Store,
        queues: Mapping[str, EndpointQueue],
        clock: Callable[[], Micros],
        offer: Callable[[Sequence[Delivery]], None],
        look: Callable[[], None],
        look_again: float,
    ) -> None:
        """Make ready; `offer` takes what was claimed, `look` is called every `look_again` seconds to suspect more."""
        self._store = store
        self._queues = queues
        self._clock = clock
        self._offer = offer
        self._look = look
        self._look_again = look_again
        self._wake = asyncio.Event()
        self._draining = False

    def wake(self) -> None:
        """See at once whether there is something to ask for."""
        self._wake.set()

    def ask(self, queue: EndpointQueue) -> None:
        """Have the store asked, if there is reason to."""
        if queue.wants(self._clock()):
            self._wake.set()

    def drain(self) -> None:
        """Claim nothing more."""
        self._draining = True

    async def run(self) -> None:
        """Claim until cancelled."""
        loop = asyncio.get_running_loop()
        look_again = loop.time() + self._look_again
        while True:
            self._wake.clear()
            if not self._draining:
                await self._claim_due()
            waits = [queue.wait(self._clock()) for queue in self._queues.values()]
            pause = min((seconds for seconds in waits if seconds is not None), default=self._look_again)
            pause = self._look_again if self._draining else min(pause, look_again - loop.time())
            try:
                async with asyncio.timeout(max(pause, 0.0)):
                    await self._wake.wait()
            except TimeoutError:
                pass  # it is time for whatever was waited for
            if loop.time() >= look_again:
                look_again = loop.time() + self._look_again
                self._look()

    async def _claim_due(self) -> None:
        now = self._clock()
        asked = {queue: count for queue in self._queues.values() if (count := queue.wants(now))}
        if not asked:
            return
        for queue, count in asked.items():
            queue.backlog = False  # what is stored from here on is announced again
            queue.promised += count
        try:
            claim = await self._store.claim_deliveries({queue.name: count for queue, count in asked.items()}, now=now)
        except StoreUnavailable:
            for queue in asked:
                queue.backlog = True
            await asyncio.sleep(AFTER_OUTAGE)
            return
        finally:
            for queue, count in asked.items():
                queue.promised -= count
        got = dict.fromkeys((queue.name for queue in asked), 0)
        for delivery in claim.deliveries:
            got[delivery.endpoint] += 1
        for queue, count in asked.items():
            queue.next_due = claim.next_due.get(queue.name)
            queue.backlog = queue.backlog or got[queue.name] >= count
        self._offer(claim.deliveries)
