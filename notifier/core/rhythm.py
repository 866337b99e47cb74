"""How long a change waits for others to share a transaction with, by how fast they come. Pure; seconds of any clock."""

from __future__ import annotations

import math

AIM = 5.0  # changes in a transaction: with so many, its own cost is a small part of theirs
LONGEST = 0.05  # seconds that a change waits at most: at a hundred a second, for four others
FEWEST = 1 / LONGEST  # changes a second; where fewer come, a wait of LONGEST seldom meets another one
FADING = 0.5  # seconds in which what came counts for less than half


class Rhythm:
    """Measures how fast changes come."""

    __slots__ = ("_at", "_weight")

    def __init__(self) -> None:
        self._at = 0.0
        self._weight = 0.0  # of the changes so far, each of which fades

    def came(self, now: float) -> float:
        """Count a change; return the seconds that it should wait for others."""
        self._weight = self._weight * math.exp(min(0.0, self._at - now) / FADING) + 1.0
        self._at = now
        rate = self._weight / FADING
        return 0.0 if rate < FEWEST else min(LONGEST, AIM / rate)
