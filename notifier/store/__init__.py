"""The durable memory: watches, events and the outbox."""

__all__ = [
    "cluster",
    "database",
    "listening",
    "store",
    "values",
]
