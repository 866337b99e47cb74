"""Programs to try the daemon with: a simulated upstream, a receiver, and a demo of all three.

`simulator` answers over `wire`, with the `faults` of its `rules`, and obeys `control`; `simulated` is one task,
`transcript` has its snapshots. `speech` is the documented protocol, `preset_speech` any preset's, whose `preset_body`
is written by the `inverse` of its paths. `listener` receives each `callback`, and answers by `responses`.
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
