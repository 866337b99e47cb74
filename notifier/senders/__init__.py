"""Adapters that deliver events to endpoints."""

__all__ = [
    "callback",
    "chat",
    "mention",
    "notice",
    "refusing",
    "services",
    "target",
    "template",
    "webhook",
]
