"""What a watch does when something is observed: a table of phases and three functions, pure.

An event comes of a state that differs from the last committed one; the first observation is a change from nothing.
A repeat gives no event, a step backwards is a change like any other, and nothing follows an ended watch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from notifier.core.model import TERMINAL, Event, EventType, LostReason, Micros, Observation, Phase, Watch

_FROM_OPEN: Mapping[Phase, EventType] = {
    Phase.QUEUED: EventType.STATE_CHANGED,
    Phase.RUNNING: EventType.STATE_CHANGED,
    Phase.SUCCEEDED: EventType.SUCCEEDED,
    Phase.FAILED: EventType.FAILED,
    Phase.CANCELED: EventType.CANCELED,
}
_FROM_TERMINAL: Mapping[Phase, None] = dict.fromkeys(Phase)  # nothing after the end

TRANSITIONS: Mapping[Phase | None, Mapping[Phase, EventType | None]] = {
    None: _FROM_OPEN,
    Phase.QUEUED: _FROM_OPEN,
    Phase.RUNNING: _FROM_OPEN,
    Phase.SUCCEEDED: _FROM_TERMINAL,
    Phase.FAILED: _FROM_TERMINAL,
    Phase.CANCELED: _FROM_TERMINAL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A watch after something happened, and what is to be told. `events` empty: nothing to commit."""

    watch: Watch
    events: tuple[Event, ...] = ()


def step(watch: Watch, observation: Observation, now: Micros) -> Step:
    """Take an observation in.

    The same state under another phase (a preset's `failure_if_present`) is a change too: else it would never end.
    """
    if watch.ended or (observation.state == watch.state and observation.phase == watch.phase):
        return Step(watch=watch)
    kind = TRANSITIONS[watch.phase][observation.phase]
    if kind is None:
        return Step(watch=watch)
    after = Watch(  # in full, as `replace` costs three times as much and this happens for every change
        pk=watch.pk,
        source=watch.source,
        id=watch.id,
        created_at=watch.created_at,
        labels=watch.labels,
        metadata=watch.metadata,
        endpoints=watch.endpoints,
        callback=watch.callback,
        state=observation.state,
        phase=observation.phase,
        sequence=watch.sequence + 1,
        changed_at=now,
        ended=observation.phase in TERMINAL,
    )
    event = Event(
        type=kind,
        at=now,
        watch=after,
        previous_state=watch.state,
        previous_phase=watch.phase,
        observation=observation,
    )
    return Step(watch=after, events=(event,))


def give_up(watch: Watch, reason: LostReason, detail: str, now: Micros) -> Step:
    """End a watch without a terminal state."""
    return _remark(watch, EventType.LOST, now, {"reason": reason.value, "detail": detail}, ended=True)


def stall(watch: Watch, seconds: float, now: Micros) -> Step:
    """Remark, once for each state, that nothing has changed for `seconds`."""
    if watch.stalled:
        return Step(watch=watch)
    return _remark(watch, EventType.STALLED, now, {"stalled_seconds": round(seconds, 3)}, stalled=True)


def _remark(
    watch: Watch,
    kind: EventType,
    now: Micros,
    extra: Mapping[str, object],
    *,
    ended: bool = False,
    stalled: bool = False,
) -> Step:
    if watch.ended:
        return Step(watch=watch)
    after = replace(watch, sequence=watch.sequence + 1, ended=ended, stalled=stalled or watch.stalled)
    event = Event(type=kind, at=now, watch=after, previous_state=watch.state, previous_phase=watch.phase, extra=extra)
    return Step(watch=after, events=(event,))
