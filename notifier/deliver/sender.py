"""The interface of a sender."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from notifier.core.model import Delivery
from notifier.core.retry import Attempt

StillOurs = Callable[[], bool]  # whether a delivery is surely still this node's


class Sender(Protocol):
    """Makes single attempts at deliveries to one endpoint; keeps no memory of them."""

    async def send(self, delivery: Delivery, still_ours: StillOurs, /) -> Attempt:
        """Try once. Raises nothing but CancelledError: every fault is an outcome.

        A sender calls `still_ours` in the very step that writes, and writes nothing if it returns False. Connecting
        takes time, and so may a round of the event loop: the delivery may become another node's meanwhile.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
