"""The ground floor beside the core: clock, logs, metrics, systemd, threads, TLS."""

__all__ = [
    "clock",
    "logs",
    "loops",
    "metrics",
    "systemd",
    "threads",
    "tls",
]
