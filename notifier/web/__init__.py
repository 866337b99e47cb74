"""The HTTP listener: health, metrics, API."""

__all__ = [
    "daemon_control",
    "guard",
    "hub",
    "report",
    "server",
]
