"""Adapters that deliver events to endpoints."""

__all__ = [
    "callback",
    "services",
    "slack",
    "template",
    "webhook",
]
