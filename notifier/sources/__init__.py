"""Adapters that read task states from upstreams."""

__all__ = [
    "archive",
    "plan",
    "poll",
    "preset",
    "probe",
    "snapshot",
    "sse",
]
