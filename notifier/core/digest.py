"""Digests: the events of an interval in one message. Pure.

Intervals begin at whole multiples since the epoch, so that a restart and other nodes find the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from notifier.core.model import Delivery, Micros

DIGEST = "notifier.digest"  # the type of the event that stands for those of an interval
MAX_EVENTS = 100  # in one message: as many as one transaction claims quickly, and more than anybody reads


def boundary(now: Micros, interval: float) -> Micros:
    """Return when the present interval ends; `interval` in seconds."""
    length = max(1, round(interval * 1e6))
    return (now // length + 1) * length


def together(number: int, deliveries: Sequence[Delivery]) -> Delivery:
    """Return one delivery that stands for several, of which there is at least one; `number` is its id."""
    first = deliveries[0]
    events = b",".join(delivery.body for delivery in deliveries)
    return Delivery(
        id=number,
        endpoint=first.endpoint,
        event_id=first.event_id,
        event_type=DIGEST,
        body=b'{"type":"%s","data":{"events":[%s]}}' % (DIGEST.encode(), events),
        lane=None,
        observed_at=min(delivery.observed_at for delivery in deliveries),
        attempt=min(delivery.attempt for delivery in deliveries),
    )
