"""Adapters that read task states from upstreams."""

__all__ = [
    "archive",
    "document",
    "kept_file",
    "kept_object",
    "plan",
    "poll",
    "preset",
    "probe",
    "snapshot",
    "sse",
    "values",
]
