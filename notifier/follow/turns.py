"""Where the subscriptions of one source wait for their turn: at a stream, or at a request.

Requests are polls, and what asks for the result of a success. A source that is polled has nothing else. Beside streams,
requests count against the streams' rate as well.
"""

from __future__ import annotations

from collections.abc import Iterator

from notifier.follow.admission import Admission, Slots
from notifier.follow.policy import FeedPolicy
from notifier.follow.subscription import Subscription


class Turns:
    """The one or two admissions of a source."""

    def __init__(self, *, slots: Slots, policy: FeedPolicy, streams: bool) -> None:
        """Create them by a policy; `streams`: the source has streams."""
        self.streams: Admission | None = None
        limit, rate = policy.max_streams, policy.connect_rate
        if streams:
            self.streams = Admission(slots=slots, limit=limit, rate=rate)
            limit, rate = policy.requests, policy.request_rate
        self.requests = Admission(slots=slots, limit=limit, rate=rate, even=True, within=self.streams)

    def __iter__(self) -> Iterator[Admission]:
        if self.streams is not None:
            yield self.streams
        yield self.requests

    def of(self, subscription: Subscription) -> Admission:
        """Return where a subscription waits."""
        if self.streams is None or subscription.polls or subscription.success is not None:
            return self.requests
        return self.streams

    @property
    def open(self) -> int:
        """Return how many streams are open or being opened; a request is none."""
        return 0 if self.streams is None else self.streams.open

    @property
    def limit(self) -> int:
        """Return how many streams may be open at a time, or requests where there are no streams."""
        return (self.streams or self.requests).limit

    @property
    def waiting(self) -> int:
        """Return how many subscriptions could connect now, but wait for a free slot or for their turn."""
        return sum(admission.waiting for admission in self)

    def update(self, policy: FeedPolicy) -> None:
        """Take new limits; open connections stay open."""
        if self.streams is None:
            self.requests.update(limit=policy.max_streams, rate=policy.connect_rate)
        else:
            self.streams.update(limit=policy.max_streams, rate=policy.connect_rate)
            self.requests.update(limit=policy.requests, rate=policy.request_rate)

    def wake(self) -> None:
        """Have every admission look again."""
        for admission in self:
            admission.wake.set()

    def close(self) -> None:
        """Leave the turns at slots to other sources."""
        for admission in self:
            admission.close()
