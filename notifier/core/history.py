"""The first burst of a stream that was connected again: how much of it is history, and how much is news. Pure.

Upstreams report the present state; some repeat earlier states, too, at the start of each connection. Receivers cannot
tell a repeated change from a true one, so history must make no events.
"""

from __future__ import annotations

from collections.abc import Sequence

from notifier.core.model import Observation, Watch

MAX_NEWS = 16  # changes of one burst that are kept; of a longer burst the last snapshot alone counts


class Replay:
    """Sorts the observations of one burst by what the watch knew before.

    - An upstream that sends the last event ID again has repeated its history up to there; everything after it is news.
    - Otherwise history ends where the state that the watch knows stands last; everything after it is news.
    - Where neither is found nothing is repeated, since a history would hold the known state: everything is news.

    The first terminal observation ends the burst, and the last one always counts.
    """

    def __init__(self, watch: Watch, last_event_id: str) -> None:
        self._known = (watch.state, watch.phase)
        self._sent = last_event_id
        self._resumed = False  # the ID came again
        self._changes: list[Observation] = []  # since the end of history
        self._last: Observation | None = None
        self.over = False  # nothing that follows counts

    @property
    def began(self) -> bool:
        """Return whether there was any observation."""
        return self._last is not None

    def add(self, observation: Observation) -> None:
        """Take the next observation in."""
        if self.over:
            return
        before, self._last = self._last, observation
        self.over = observation.phase.terminal
        if self._sent and observation.event_id == self._sent:
            self._resumed = True
            self._changes.clear()
        elif not self._resumed and _key(observation) == self._known:
            self._changes.clear()
        elif self._changes and before is self._changes[-1] and _key(before) == _key(observation):
            self._changes[-1] = observation
        else:
            self._changes.append(observation)
            del self._changes[: -MAX_NEWS - 1]

    def news(self) -> Sequence[Observation]:
        """Return the observations that count, oldest first."""
        if self._last is None:
            return ()
        if 0 < len(self._changes) <= MAX_NEWS:
            return tuple(self._changes)
        return (self._last,)


def _key(observation: Observation) -> tuple[str | None, object]:
    return observation.state, observation.phase
