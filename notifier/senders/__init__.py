"""Adapters that deliver events to endpoints."""

__all__ = [
    "callback",
    "chat",
    "refusing",
    "services",
    "target",
    "template",
    "webhook",
]
