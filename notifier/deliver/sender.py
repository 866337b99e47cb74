"""What delivering asks of a sender."""

from __future__ import annotations

from typing import Protocol

from notifier.core.model import Delivery
from notifier.core.retry import Attempt


class Sender(Protocol):
    """Makes single attempts at deliveries to one endpoint; keeps no memory of them."""

    async def send(self, delivery: Delivery) -> Attempt:
        """Try once. Never raises but for cancellation: every fault is an outcome.

        A sender asks `claim_holds` in the very step that writes: to connect takes time, and so may a round of the event
        loop, in which a delivery may have become another node's.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
