"""The first burst of a stream that was connected again: how much of it is history, and how much is news. Pure.

Upstreams report the present state; some repeat earlier states, too, at the start of each connection. Receivers cannot
tell a repeated change from a true one, so history must make no events.
"""

from __future__ import annotations

from collections.abc import Sequence

from notifier.core.model import Observation, Watch

BEGINNING = 2  # states that tell a history from news
MAX_NEWS = 16  # changes of one burst that are kept; of a longer burst the last snapshot alone counts


class Replay:
    """Sorts the observations of one burst by what the watch knew before.

    - An upstream that sends the last event ID again has repeated its history up to there; everything after it is news.
    - Otherwise history ends where the state that the watch knows stands last; everything after it is news.
    - Where neither is found, nothing is repeated, since a history would hold the known state: everything is news.
      The exception is a history that was cut short: a stream that ended without a terminal state and began with the
      watch's first BEGINNING states. It tells nothing. Where the watch's first states are unknown, any stream that
      ended so may be one, and its last snapshot alone counts.

    The first terminal observation ends the burst, and the last one always counts.
    """

    def __init__(self, watch: Watch, last_event_id: str, began: Sequence[str | None] | None = None) -> None:
        """`began`: the first BEGINNING states of the watch, or fewer; None: unknown."""
        self._known = (watch.state, watch.phase)
        self._began = began
        self._opening: list[str | None] = []  # the first states of the burst
        self._sent = last_event_id
        self._resumed = False  # the ID came again
        self._found = False  # the end of history, by the ID or by the known state
        self._ids = bool(last_event_id)  # every observation has one
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
        self._ids = self._ids and bool(observation.event_id)
        if len(self._opening) < BEGINNING and observation.state not in self._opening[-1:]:
            self._opening.append(observation.state)
        if self._sent and observation.event_id == self._sent:
            self._resumed = self._found = True
            self._changes.clear()
        elif not self._resumed and _key(observation) == self._known:
            self._found = True
            self._changes.clear()
        elif self._changes and before is self._changes[-1] and _key(before) == _key(observation):
            self._changes[-1] = observation
        else:
            self._changes.append(observation)
            del self._changes[: -MAX_NEWS - 1]

    def news(self, *, ended: bool = False) -> Sequence[Observation]:
        """Return the observations that count, oldest first. `ended`: the stream is over, in order or not."""
        if self._last is None:
            return ()
        if ended and not (self.over or self._found or self._ids) and len(self._opening) == BEGINNING:
            if self._began is None:
                return (self._last,)
            if list(self._began) == self._opening:
                return ()
        if 0 < len(self._changes) <= MAX_NEWS:
            return tuple(self._changes)
        return (self._last,)


def _key(observation: Observation) -> tuple[str | None, object]:
    return observation.state, observation.phase
