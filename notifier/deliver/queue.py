"""The deliveries in memory for one destination, and what is known of those in the store.

Memory is bounded; the rest waits in the store. Every delivery that may come without being asked for again has a
reserved place: it is being committed, claimed, or sent (its end may release the next one). A watch has at most one
delivery here: the store keeps the later ones back until it is settled.
"""

from __future__ import annotations

from collections import OrderedDict

from notifier.core.model import Delivery, Micros

AHEAD = 8  # deliveries kept in memory for each one in flight: enough that workers never wait, few to lose track of


class DeliveryQueue:
    """Bounded memory for one destination. Others read its public fields, and change them by methods alone."""

    __slots__ = ("_limit", "backlog", "next_due", "reserved", "waiting")

    def __init__(self, *, limit: int) -> None:
        """Create an empty queue; `limit` is of attempts in flight, and memory takes AHEAD times as many deliveries."""
        self._limit = limit
        self.reserved = 0  # places for deliveries that are being committed or claimed
        self.backlog = True  # whether the store may hold deliveries that are due; at the start nobody knows
        self.next_due: Micros | None = None  # when the next delivery in the store is due, as far as is known
        self.waiting: OrderedDict[int, Delivery] = OrderedDict()  # for an attempt, by lane, the oldest first

    @property
    def low(self) -> bool:
        """Return whether it is time to claim more: not for every single one."""
        return len(self.waiting) <= self._limit

    def room(self, in_flight: int) -> int:
        """Return how many more deliveries memory takes, or less than 1."""
        return AHEAD * self._limit - len(self.waiting) - in_flight - self.reserved

    def claimable(self, in_flight: int) -> int:
        """Return how many deliveries to claim from the store, or less than 1.

        Some room is left for commits during the claim. Otherwise their deliveries would have to be claimed as well, and
        those that come during that claim too: under load no delivery would skip the store ever again.
        """
        return self.room(in_flight) - self._limit

    def update(self, *, limit: int) -> None:
        """Take a new limit."""
        self._limit = limit

    def reserve(self, count: int = 1) -> None:
        """Reserve places."""
        self.reserved += count

    def free(self, count: int = 1) -> None:
        """Free reserved places."""
        self.reserved -= count

    def expect(self, due: Micros | None = None) -> None:
        """Record that the store holds a delivery that is due then; None: now."""
        if due is None:
            self.backlog = True
        else:
            self.next_due = due if self.next_due is None else min(self.next_due, due)

    def claiming(self) -> None:
        """Record that a claim begins: whatever the store gets from now on is announced again."""
        self.backlog = False
        self.next_due = None

    def claimed(self, *, more: bool, next_due: Micros | None) -> None:
        """Record what a claim said about the deliveries that the store still holds."""
        if next_due is not None:
            self.expect(next_due)  # a retry that was saved beside the claim may be due sooner
        self.backlog = self.backlog or more

    def push(self, delivery: Delivery) -> None:
        """Add a delivery."""
        self.waiting[-delivery.id if delivery.lane is None else delivery.lane] = delivery

    def pop(self) -> Delivery:
        """Remove the oldest delivery, and return it."""
        return self.waiting.popitem(last=False)[1]

    def overtake(self, lane: int, event_id: str) -> Delivery | None:
        """Remove the delivery of a watch that a newer event replaces, and return it.

        The newer one may be here already: its commit releases it if the one before is settled.
        """
        if lane in self.waiting and self.waiting[lane].event_id != event_id:
            return self.waiting.pop(lane)
        return None

    def empty(self) -> list[Delivery]:
        """Remove all deliveries, and return them."""
        rest = list(self.waiting.values())
        self.waiting.clear()
        return rest
