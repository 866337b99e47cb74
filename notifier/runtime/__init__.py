"""The ground floor beside the core: clock, logs, metrics, systemd, threads, TLS, wake."""

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
