"""Programs to try the daemon with: an upstream, a receiver, both with the daemon in one."""

__all__ = [
    "demo",
    "faults",
    "listener",
    "simulator",
    "transcript",
]
