"""What the process needs from its environment: clock, logs, metrics, systemd, threads, TLS, event loop."""

__all__ = [
    "aiohttp_private",
    "clock",
    "logs",
    "loops",
    "metrics",
    "systemd",
    "threads",
    "tls",
    "wake",
]
