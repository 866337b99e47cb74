"""Adapters that read task states from upstreams."""

__all__ = [
    "preset",
    "sse",
]
