"""What an endpoint answered lately: a count by kind of answer over the last minute. Pure; seconds of any clock.

Time is cut into slots, so that memory does not grow with traffic and old answers leave in small steps.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

SLOT = 5.0  # seconds
SLOTS = 12  # a minute in all
KINDS = 8  # kinds of refusal that are told apart in one slot; the rest share one name
OTHER = "other"
FEW_ACCEPTED, FEW_ATTEMPTS = 5, 20  # that a share has to be of, before anything follows from it


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The attempts of the last minute that an endpoint decided about."""

    accepted: int
    refused: int
    reason: str | None  # of most refusals; None without any
    seconds: float = SLOT * SLOTS  # that they cover

    @property
    def share(self) -> float:
        """Return the share of attempts that were refused, from 0 to 1."""
        return self.refused / (self.accepted + self.refused) if self.refused else 0.0

    @property
    def by_chance(self) -> float:
        """Return the share refused by chance, whatever the message; 0.0 if too few are known, or hardly any succeed."""
        known = self.accepted >= FEW_ACCEPTED and self.accepted + self.refused >= FEW_ATTEMPTS
        return self.share if known else 0.0

    @property
    def goodput(self) -> float:
        """Return how many attempts were accepted in a second."""
        return self.accepted / self.seconds


def together(shares: Iterable[Shares]) -> Shares:
    """Return what several nodes have counted of one endpoint."""
    parts = list(shares)
    most = max(parts, key=lambda part: part.refused, default=None)
    return Shares(
        accepted=sum(part.accepted for part in parts),
        refused=sum(part.refused for part in parts),
        reason=None if most is None else most.reason,
        seconds=max((part.seconds for part in parts), default=SLOT * SLOTS),
    )


@dataclass(slots=True)
class _Slot:
    number: int
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class RecentAnswers:
    """Counts the answers of one endpoint."""

    __slots__ = ("_began", "_slots", "_until")

    def __init__(self) -> None:
        self._began: float | None = None  # when the first answer was counted
        self._slots: deque[_Slot] = deque(maxlen=SLOTS)
        self._until = -math.inf  # when the last slot ends

    def accepted(self, now: float) -> None:
        """Count an accepted attempt."""
        if now >= self._until:
            self._begin_slot(now)
        self._slots[-1].accepted += 1

    def refused(self, reason: str, now: float) -> None:
        """Count a refused attempt."""
        if now >= self._until:
            self._begin_slot(now)
        kinds = self._slots[-1].refused
        kinds[reason if reason in kinds or len(kinds) < KINDS else OTHER] += 1

    def shares(self, now: float) -> Shares:
        """Return the counts of the last minute."""
        oldest = int(now // SLOT) - SLOTS
        slots = [slot for slot in self._slots if slot.number > oldest]
        kinds: Counter[str] = Counter()
        for slot in slots:
            kinds.update(slot.refused)
        reason = max(sorted(kinds), key=kinds.__getitem__) if kinds else None
        passed = now - (now if self._began is None else self._began)
        return Shares(
            accepted=sum(slot.accepted for slot in slots),
            refused=kinds.total(),
            reason=reason,
            seconds=min(max(passed, SLOT), SLOT * SLOTS),
        )

    def clear(self) -> None:
        """Forget everything."""
        self._slots.clear()
        self._began, self._until = None, -math.inf

    def _begin_slot(self, now: float) -> None:
        self._began = now if self._began is None else self._began
        number = int(now // SLOT)
        self._slots.append(_Slot(number))
        self._until = (number + 1) * SLOT
