"""Adapters that deliver events to endpoints."""

__all__ = [
    "apprise_service",
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
