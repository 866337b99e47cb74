"""From a watch to a commit."""

__all__ = [
    "admission",
    "feed",
    "recorder",
    "subscription",
    "watcher",
]
