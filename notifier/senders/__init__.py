"""Adapters that deliver events to endpoints."""

__all__ = [
    "callback",
    "chat",
    "mention",
    "notice",
    "pace",
    "refusing",
    "services",
    "slack_bot",
    "target",
    "template",
    "webhook",
]
