"""The limits of a source's feed."""

from __future__ import annotations

from dataclasses import dataclass, field

from notifier.core.reconnect import ReconnectPolicy
from notifier.sources.preset import Poll

SWEEP = (0.05, 1.0)  # seconds between looks at the time limits, least and most


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPolicy:
    """A source's limits; times in seconds. The defaults are the configuration's."""

    reconnect: ReconnectPolicy
    max_streams: int
    connect_rate: float  # a second
    idle_timeout: float  # without a byte
    deadline: float  # of a whole watch
    stall_after: float | None  # without a change
    failing_after: float = 300.0  # without an answer to any try, after which operators are told
    poll: Poll | None = None  # None: no task is polled
    requests: int = 32  # polls and requests for results at a time, beside the streams; where all are polls, max_streams
    request_rate: float = 200.0  # of those, a second; they count against connect_rate as well
    resume_window: float | None = None  # after the start of a watch, in which its streams can go on behind an event
    sweep: float = field(init=False)  # between looks at the time limits of all watches: a part of the shortest limit

    def __post_init__(self) -> None:
        limits = (self.idle_timeout, self.deadline, self.stall_after, self.failing_after)
        shortest = min(limit for limit in limits if limit is not None)
        object.__setattr__(self, "sweep", min(max(shortest / 4, SWEEP[0]), SWEEP[1]))
