"""What the process needs from its environment: clock, logs, metrics, systemd, threads, TLS, event loop.

`clock` has the time and how it was set, `logs` the form of a line and `log_writer` its way out, `threads` blocking
calls, `loops` the event loop. `metrics` names all metrics, `counters` has the kinds that the hot path changes. `http1`
is the HTTP client of sources and senders: `connection`, `pool`, `dialling`, `reply`, and `names`, which looks up hosts
and refuses forbidden addresses. `tracing` has spans, and `otel` sends them; `wake` is the pause of a loop; the
`*_private` modules reach into libraries.
"""

__all__ = [
    "aiohttp_private",
    "clock",
    "counters",
    "http1",
    "loading_private",
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
