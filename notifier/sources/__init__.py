"""Adapters that read task states from upstreams."""

__all__ = [
    "plan",
    "poll",
    "preset",
    "probe",
    "snapshot",
    "sse",
]
