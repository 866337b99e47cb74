"""Endpoints that several nodes send to: what others met there is heeded, and one node serves where only one may.

No node talks to another; everyone reads the same rows every second, and `core/endpoint.py` says what follows from them.
To be told of a change only makes that happen sooner.
"""

from __future__ import annotations

import asyncio

from notifier.core.errors import StoreUnavailable
from notifier.deliver.dispatcher import Dispatcher
from notifier.store.cluster import Nodes

LOOK = 1.0  # seconds between looks at what nobody announced


class Sharing:
    """Keeps a dispatcher in line with those of other nodes."""

    def __init__(self, *, nodes: Nodes, dispatcher: Dispatcher) -> None:
        self._nodes = nodes
        self._dispatcher = dispatcher
        self._wake = asyncio.Event()
        dispatcher.on_saved(self.wake)

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self._wake.clear()
            await self._look()
            try:
                async with asyncio.timeout(LOOK):
                    await self._wake.wait()
            except TimeoutError:
                pass  # it is time for another look

    async def _look(self) -> None:
        try:
            leads = await self._nodes.lead(self._dispatcher.wants())
        except StoreUnavailable:
            return  # the store has said so; what is led is led as long as this node lives
        if leads.number == self._nodes.number:  # else it was taken for dead meanwhile
            self._dispatcher.heed(leads)
