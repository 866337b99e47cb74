"""Where watches come from: files, queues."""

__all__ = [
    "broker",
    "consumer",
    "input",
    "intake",
    "making",
    "running",
]
