"""Adapters that deliver events to endpoints."""

__all__ = [
    "callback",
    "refusing",
    "services",
    "slack",
    "template",
    "webhook",
]
