"""Adapters that deliver events to endpoints."""

__all__ = [
    "callback",
    "claims",
    "services",
    "slack",
    "template",
    "webhook",
]
