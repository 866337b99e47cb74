"""What an endpoint answered lately: a count by kind of answer over the last minute. Pure; seconds of any clock.

Time is cut into slots, so that memory does not grow with traffic and old answers leave in small steps.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

SLOT = 5.0  # seconds
SLOTS = 12  # a minute in all
KINDS = 8  # kinds of refusal that are told apart in one slot; the rest share one name
OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The attempts of the last minute that an endpoint decided about."""

    accepted: int
    refused: int
    reason: str | None  # of most refusals; None without any

    @property
    def share(self) -> float:
        """Return the share of attempts that were refused, from 0 to 1."""
        return self.refused / (self.accepted + self.refused) if self.refused else 0.0


@dataclass(slots=True)
class _Slot:
    number: int
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class Recent:
    """Counts the answers of one endpoint."""

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        self._slots: deque[_Slot] = deque(maxlen=SLOTS)

    def accepted(self, now: float) -> None:
        """Count an accepted attempt."""
        self._slot(now).accepted += 1

    def refused(self, reason: str, now: float) -> None:
        """Count a refused attempt."""
        kinds = self._slot(now).refused
        kinds[reason if reason in kinds or len(kinds) < KINDS else OTHER] += 1

    def shares(self, now: float) -> Shares:
        """Return the counts of the last minute."""
        oldest = int(now // SLOT) - SLOTS
        slots = [slot for slot in self._slots if slot.number > oldest]
        kinds: Counter[str] = Counter()
        for slot in slots:
            kinds.update(slot.refused)
        reason = max(sorted(kinds), key=kinds.__getitem__) if kinds else None
        return Shares(accepted=sum(slot.accepted for slot in slots), refused=kinds.total(), reason=reason)

    def clear(self) -> None:
        """Forget everything."""
        self._slots.clear()

    def _slot(self, now: float) -> _Slot:
        number = int(now // SLOT)
        if not self._slots or self._slots[-1].number < number:
            self._slots.append(_Slot(number))
        return self._slots[-1]
