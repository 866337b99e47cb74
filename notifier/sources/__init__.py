"""Adapters that read task states from upstreams."""

__all__ = [
    "poll",
    "preset",
    "sse",
]
