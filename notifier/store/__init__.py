"""The durable memory: watches, events and the outbox."""

__all__ = [
    "database",
    "listening",
    "nodes",
    "store",
    "values",
]
