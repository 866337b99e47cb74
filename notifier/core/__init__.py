"""Values and decisions: no I/O, no clock, no randomness; everything enters as an argument."""

__all__ = [
    "addresses",
    "breaker",
    "callback",
    "databases",
    "endpoint",
    "errors",
    "eventstream",
    "files",
    "machine",
    "model",
    "pace",
    "payload",
    "reconnect",
    "retry",
    "routing",
    "share",
    "signers",
    "signing",
    "strictjson",
    "text",
]
