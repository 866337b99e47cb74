"""Bounded memory: a queue takes some deliveries, leaves the others to the store, and remembers that it did."""

from __future__ import annotations

from notifier.core.model import Delivery
from notifier.deliver.queue import AHEAD, DeliveryQueue


def delivery(number: int, *, lane: int | None = None, event: str = "e") -> Delivery:
    return Delivery(id=number, endpoint="app", event_id=event, event_type="task.x", body=b"", lane=lane, observed_at=0)


def test_every_place_is_counted_once() -> None:
    """Waiting, reserved and in flight share one bound; claims leave a part of it to commits."""
    queue = DeliveryQueue(limit=2)
    assert (queue.room(0), queue.claimable(0)) == (AHEAD * 2, AHEAD * 2 - 2)
    queue.push(delivery(1))
    queue.reserve(3)
    assert (queue.room(2), queue.claimable(2)) == (AHEAD * 2 - 6, AHEAD * 2 - 8)
    queue.free(3)
    assert queue.pop().id == 1
    assert queue.room(0) == AHEAD * 2
    queue.update(limit=1)
    assert queue.room(0) == AHEAD


def test_deliveries_leave_in_the_order_in_which_they_came() -> None:
    """With and without a watch."""
    queue = DeliveryQueue(limit=9)
    for number, lane in enumerate((7, None, 3, None)):
        queue.push(delivery(number, lane=lane))
    assert [queue.pop().id for _ in range(2)] == [0, 1]
    assert [each.id for each in queue.empty()] == [2, 3]
    assert not queue.waiting


def test_a_newer_event_takes_an_older_ones_place_and_not_its_own() -> None:
    queue = DeliveryQueue(limit=9)
    queue.push(delivery(1, lane=5, event="old"))
    assert queue.overtake(4, "new") is None
    assert queue.overtake(5, "old") is None
    overtaken = queue.overtake(5, "new")
    assert overtaken is not None
    assert (overtaken.id, len(queue.waiting)) == (1, 0)


def test_news_during_a_claim_outlives_it() -> None:
    """The claim may have missed what came after it began."""
    queue = DeliveryQueue(limit=9)
    queue.claiming()
    queue.claimed(more=False, next_due=70)
    assert (queue.backlog, queue.next_due) == (False, 70)
    queue.claiming()
    queue.expect()
    queue.claimed(more=False, next_due=None)
    assert (queue.backlog, queue.next_due) == (True, None)


def test_the_earliest_due_time_counts() -> None:
    queue = DeliveryQueue(limit=9)
    for due in (50, 20, 90):
        queue.expect(due)
    assert queue.next_due == 20
