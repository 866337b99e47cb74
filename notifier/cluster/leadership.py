"""Endpoints that several nodes send to: the nodes share what they learn, and one node leads where only one may send.

No node talks to another. Each reads the same rows every second, and `core/endpoint.py` decides what follows from them.
A notification of a change only makes that happen sooner.
"""

from __future__ import annotations

from notifier.core.errors import StoreUnavailable
from notifier.deliver import Dispatcher
from notifier.runtime.wake import Wake
from notifier.store import Nodes

LOOK = 1.0  # seconds between looks without a notification


class SharedEndpoints:
    """Keeps a dispatcher in step with those of other nodes."""

    def __init__(self, *, nodes: Nodes, dispatcher: Dispatcher, wake: Wake) -> None:
        """Look at once when `wake` is set."""
        self._nodes = nodes
        self._dispatcher = dispatcher
        self._wake = wake

    def wake(self) -> None:
        """Look at the other nodes' state at once."""
        self._wake.set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._look()
            await self._wake.wait(LOOK)

    async def _look(self) -> None:
        try:
            leadership = await self._nodes.lead(self._dispatcher.leader_requests())
        except StoreUnavailable:
            return  # the store has logged it; this node leads its endpoints as long as it lives
        if leadership.number == self._nodes.number:  # otherwise it was declared dead meanwhile
            self._dispatcher.adopt(leadership)
