"""From a watch to a commit: who is followed, over which connection, and what its observations mean."""

from notifier.follow.admission import Slots
from notifier.follow.feed import Feed, Source
from notifier.follow.policy import FeedPolicy
from notifier.follow.recorder import DeliveryPlaces, DeliveryQueues, Recorder
from notifier.follow.subscription import Subscription
from notifier.follow.troubles import Trouble
from notifier.follow.watcher import Watcher

__all__ = [
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
