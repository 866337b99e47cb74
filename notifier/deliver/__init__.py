"""From a commit to a settled delivery."""

__all__ = [
    "claiming",
    "dispatcher",
    "endpoint_queue",
    "sender",
]
