"""What the process needs from its environment: clock, logs, metrics, systemd, threads, TLS, event loop."""

__all__ = [
    "aiohttp_private",
    "clock",
    "http1",
    "logs",
    "loops",
    "metrics",
    "otel",
    "structlog_private",
    "systemd",
    "threads",
    "tls",
    "tracing",
    "typer_private",
    "wake",
]
