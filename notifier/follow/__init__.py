"""From a watch to a commit: who is followed, over which connection, and what its observations mean.

`watcher` claims watches and hands each to the `feed` of its source, which keeps each as a `subscription` in `followed`.
`admission` says who connects next; `connection` reads a stream, `polling` polls, `results` fetches or archives the
result of a success. `observer` takes a step for each observation, `own_steps` those that no observation causes,
`recorder` commits them. `time_limits` knows when a stream idles, a task stalls, and a deadline is over; `troubles` and
`source_announcer` report the troubles of a source.
"""

from notifier.follow.admission import Slots
from notifier.follow.feed import Feed, Source
from notifier.follow.policy import FeedPolicy
from notifier.follow.recorder import DeliveryPlaces, DeliveryQueues, Recorder
from notifier.follow.subscription import Subscription
from notifier.follow.troubles import Trouble
from notifier.follow.watcher import NO_SOURCE, Watcher

__all__ = [
    "NO_SOURCE",
    "DeliveryPlaces",
    "DeliveryQueues",
    "Feed",
    "FeedPolicy",
    "Recorder",
    "Slots",
    "Source",
    "Subscription",
    "Trouble",
    "Watcher",
]
