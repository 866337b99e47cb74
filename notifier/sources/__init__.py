"""Adapters that read task states from upstreams."""

__all__ = [
    "archive",
    "kept_file",
    "kept_object",
    "plan",
    "poll",
    "preset",
    "probe",
    "snapshot",
    "sse",
]
