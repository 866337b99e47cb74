"""A sender that sends nothing, in the place of one that could not be created."""

from __future__ import annotations

from collections.abc import Callable

from notifier.core.model import Delivery, Micros
from notifier.core.retry import Attempt, Outcome
from notifier.senders.connections import StillOurs, always


class Refusing:
    """Answers every delivery with one outcome."""

    def __init__(self, outcome: Outcome, clock: Callable[[], Micros]) -> None:
        self._outcome = outcome
        self._clock = clock

    async def send(self, _delivery: Delivery, _still_ours: StillOurs = always) -> Attempt:
        """Return the outcome."""
        return Attempt(at=self._clock(), outcome=self._outcome)

    async def close(self) -> None:
        """Do nothing: there is no connection."""
