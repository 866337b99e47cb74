"""Programs to try the daemon with: a simulated upstream, a receiver, and a demo of all three.

`simulator` answers over `wire`, with the `faults` of its `rules`; `transcript` has the snapshots of a task, `speech`
the documented protocol, `preset_speech` any preset's. `listener` receives, and answers by `responses`.
"""

__all__ = [
    "demo",
    "faults",
    "listener",
    "preset_speech",
    "simulator",
    "speech",
    "transcript",
]
