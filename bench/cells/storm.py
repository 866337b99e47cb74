"""A cut of the network, and how the streams of a cell come back. Every attempt is played; no I/O, no clock."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from bench.cells.figures import BACKOFF_INITIAL, BACKOFF_MAX, CONNECT_RATE

STREAMS = 20_000
NODES = 5
CUT = 30.0  # seconds without a network
CAPACITY = 1_500.0  # connections a second that the upstream takes; it refuses the others
WINDOW = 0.1  # seconds over which it counts
LONGEST = 600.0  # seconds after which we stop looking

Delay = Callable[[int, random.Random], float]  # failures in a row -> seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """How nodes come back."""

    name: str
    delay: Delay
    rate: float | None  # connections a second that a node begins at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """How it went. Seconds count from the end of the cut."""

    strategy: str
    attempts: float  # for each stream
    peak: float  # connections a second that the upstream was asked for, after the cut
    refused: int  # of them, those that it refused
    half: float | None  # seconds until half of the streams are open
    most: float | None  # ... 99 %
    all: float | None


def ceiling(failures: int) -> float:
    """Return the bound that doubles."""
    return min(BACKOFF_MAX, BACKOFF_INITIAL * 2.0 ** min(failures - 1, 32))


STRATEGIES: Sequence[Strategy] = (
    Strategy(name="every second", delay=lambda _, __: 1.0, rate=None),
    Strategy(name="doubling", delay=lambda failures, _: ceiling(failures), rate=None),
    Strategy(name="doubling, full jitter", delay=lambda failures, rng: ceiling(failures) * rng.random(), rate=None),
    Strategy(name="doubling, ramp", delay=lambda failures, _: ceiling(failures), rate=CONNECT_RATE),
    Strategy(
        name="full jitter and ramp (ours)",
        delay=lambda failures, rng: ceiling(failures) * rng.random(),
        rate=CONNECT_RATE,
    ),
)


def play(strategy: Strategy, *, seed: int) -> Return:
    """Cut all streams at second 0 and let them come back."""
    rng = random.Random(seed)
    due = [(strategy.delay(1, rng), stream) for stream in range(STREAMS)]
    heapify(due)
    failures = [1] * STREAMS
    free_at = [0.0] * NODES  # when a node may begin its next connection
    asked: Counter[int] = Counter()  # by window, after the cut
    opened: list[float] = []
    attempts = refused = 0
    while due and due[0][0] < LONGEST:
        at, stream = heappop(due)
        if strategy.rate is not None:
            node = stream % NODES
            at = max(at, free_at[node])
            free_at[node] = at + 1 / strategy.rate
        attempts += 1
        if at >= CUT:
            window = int(at / WINDOW)
            asked[window] += 1
            if asked[window] <= CAPACITY * WINDOW:
                opened.append(at - CUT)
                continue
            refused += 1
        failures[stream] += 1
        heappush(due, (at + strategy.delay(failures[stream], rng), stream))
    opened.sort()
    return Return(
        strategy=strategy.name,
        attempts=attempts / STREAMS,
        peak=max(asked.values()) / WINDOW,
        refused=refused,
        half=_reached(opened, 0.5),
        most=_reached(opened, 0.99),
        all=_reached(opened, 1.0),
    )


def _reached(opened: Sequence[float], share: float) -> float | None:
    needed = max(1, round(share * STREAMS))
    return opened[needed - 1] if len(opened) >= needed else None
