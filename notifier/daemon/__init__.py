"""The process: built, changed by a reload, stopped."""

__all__ = [
    "adapters",
    "app",
]
