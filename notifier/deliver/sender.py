"""The interface of a sender, and the link that closes one after its last attempt."""

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


class Link:
    """A sender in use. After `retire` it is closed, once the last attempt that acquired it has released it."""

    __slots__ = ("_retired", "_users", "sender")

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self._users = 0
        self._retired = False

    def retire(self) -> bool:
        """Close the sender after its last use; return whether the caller has to close it, as nobody uses it."""
        first, self._retired = not self._retired, True
        return first and not self._users

    def acquire(self) -> Link:
        """Keep the sender open until `release`; return the link."""
        self._users += 1
        return self

    def release(self) -> bool:
        """End a use; return whether the caller has to close the sender, as it is retired and nobody uses it."""
        self._users -= 1
        return self._retired and not self._users
