"""Programs to try the daemon with: a simulated upstream, a receiver, and a demo of all three."""

__all__ = [
    "demo",
    "faults",
    "listener",
    "preset_speech",
    "simulator",
    "speech",
    "transcript",
]
