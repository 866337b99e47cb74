"""What a watch does when something is observed: one event type for each phase and three functions, pure.

A state that differs from the last committed one makes an event; the first observation is a change from nothing.
A repeat makes no event, a step backwards is a change like any other, and nothing follows an ended watch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from notifier.core.model import TERMINAL, Event, EventType, LostReason, Micros, Observation, Phase, Watch

MAX_STATE = 200  # characters of an error's code that stands for a state

# The event of a change depends on the new phase alone: an open watch may go anywhere, an ended one nowhere.
CHANGES: Mapping[Phase, EventType] = {
    Phase.QUEUED: EventType.STATE_CHANGED,
    Phase.RUNNING: EventType.STATE_CHANGED,
    Phase.SUCCEEDED: EventType.SUCCEEDED,
    Phase.FAILED: EventType.FAILED,
    Phase.CANCELED: EventType.CANCELED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A watch after something happened, and the events to tell. Without events there is nothing to commit."""

    watch: Watch
    events: tuple[Event, ...] = ()


def step(watch: Watch, observation: Observation, now: Micros) -> Step:
    """Return the step that an observation causes.

    The same state under another phase (a preset's `failure_if_present`) is a change too: else it would never end. An
    observation without a state leaves the last one; a watch that never had one takes the error's code.
    """
    if watch.ended or watch.phase in TERMINAL:
        return Step(watch=watch)
    state = observation.state or watch.state or _error_state(observation)
    if state == watch.state and observation.phase == watch.phase:
        return Step(watch=watch)
    after = Watch(  # written in full: `replace` costs three times as much, and every change comes this way
        pk=watch.pk,
        source=watch.source,
        id=watch.id,
        created_at=watch.created_at,
        labels=watch.labels,
        metadata=watch.metadata,
        endpoints=watch.endpoints,
        callback=watch.callback,
        variables=watch.variables,
        traceparent=watch.traceparent,
        state=state,
        phase=observation.phase,
        sequence=watch.sequence + 1,
        changed_at=now,
        ended=observation.phase in TERMINAL,
        last_event_id=observation.event_id or watch.last_event_id,
    )
    event = Event(
        type=CHANGES[observation.phase],
        at=now,
        watch=after,
        previous_state=watch.state,
        previous_phase=watch.phase,
        observation=observation,
    )
    return Step(watch=after, events=(event,))


def _error_state(observation: Observation) -> str:
    code = observation.error.code if observation.error is not None else None
    return code[:MAX_STATE] if code else observation.phase.value


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
