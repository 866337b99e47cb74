"""What a watch makes of what is observed (DESIGN.md section 6)."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.machine import CHANGES, Step, give_up, stall, step
from notifier.core.model import TERMINAL, Event, EventType, LostReason, Observation, Phase, TaskError, Watch

SECOND = 1_000_000
T0 = 1_700_000_000 * SECOND
WATCH = Watch(pk=1, source="vidu", id="42", created_at=T0, changed_at=T0)
PHASE = {  # of the states of the documented upstream
    "created": Phase.QUEUED,
    "queueing": Phase.QUEUED,
    "preparation": Phase.QUEUED,
    "scheduling": Phase.QUEUED,
    "processing": Phase.RUNNING,
    "success": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "canceled": Phase.CANCELED,
}
OBSERVATIONS = st.builds(
    lambda state, progress: Observation(state=state, phase=PHASE[state], progress=progress),
    st.sampled_from(sorted(PHASE)),
    st.none() | st.floats(0, 1),
)


def seen(state: str) -> Observation:
    return Observation(state=state, phase=PHASE[state])


def follow(*states: str, watch: Watch = WATCH) -> list[Step]:
    """Take states in, one a second."""
    steps = []
    for n, state in enumerate(states, 1):
        steps.append(step(watch, seen(state), T0 + n * SECOND))
        watch = steps[-1].watch
    return steps


def kinds(*steps: Step) -> list[EventType]:
    return [event.type for each in steps for event in each.events]


def test_the_first_observation_is_a_change_from_nothing() -> None:
    """A watch that has seen nothing changes with whatever it sees first."""
    (only,) = follow("queueing")
    (event,) = only.events
    assert (event.type, event.previous_state, event.previous_phase) == (EventType.STATE_CHANGED, None, None)
    assert event.watch == only.watch
    assert (only.watch.state, only.watch.phase, only.watch.sequence) == ("queueing", Phase.QUEUED, 1)
    assert (event.at, only.watch.changed_at, only.watch.created_at) == (T0 + SECOND, T0 + SECOND, T0)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("created", EventType.STATE_CHANGED),
        ("processing", EventType.STATE_CHANGED),
        ("success", EventType.SUCCEEDED),
        ("failed", EventType.FAILED),
        ("canceled", EventType.CANCELED),
    ],
)
def test_the_type_of_an_event_follows_from_the_phase(state: str, kind: EventType) -> None:
    """Each terminal phase has its own type; all others share one. A terminal phase ends the watch."""
    (only,) = follow(state)
    assert kinds(only) == [kind]
    assert only.watch.ended is (kind is not EventType.STATE_CHANGED)


def test_a_change_within_a_phase_is_a_change() -> None:
    """What counts is the provider's own word, not ours."""
    assert kinds(*follow("created", "queueing", "preparation")) == [EventType.STATE_CHANGED] * 3


def test_a_repeat_is_no_event() -> None:
    """The same state again changes nothing, whatever else the snapshot says."""
    watch = follow("processing")[0].watch
    again = step(watch, replace(seen("processing"), progress=0.5, eta_seconds=3, task={"n": 1}), T0 + 9 * SECOND)
    assert again == Step(watch=watch)


def test_a_step_backwards_is_a_change_like_any_other() -> None:
    """`processing` may be followed by `queueing`."""
    *_, back = follow("processing", "queueing")
    assert kinds(back) == [EventType.STATE_CHANGED]
    assert (back.events[0].previous_state, back.events[0].previous_phase) == ("processing", Phase.RUNNING)


def test_the_same_state_under_another_phase_is_a_change() -> None:
    """A preset may find a failure in a snapshot whose state stays: the watch has to end."""
    watch = follow("processing")[0].watch
    after = step(watch, Observation(state="processing", phase=Phase.FAILED), T0)
    assert kinds(after) == [EventType.FAILED]
    assert after.watch.ended


def test_an_error_without_a_state_ends_the_watch_in_its_last_state() -> None:
    """The state is the last one known, or else the error's code, or else the phase."""
    failed = Observation(state=None, phase=Phase.FAILED, error=TaskError(code="content_policy"))
    after = step(follow("processing")[0].watch, failed, T0)
    assert kinds(after) == [EventType.FAILED]
    assert (after.watch.state, after.watch.ended) == ("processing", True)
    assert step(WATCH, failed, T0).watch.state == "content_policy"
    assert step(WATCH, Observation(state=None, phase=Phase.FAILED), T0).watch.state == "failed"


@pytest.mark.parametrize("end", ["success", "failed", "canceled"])
@pytest.mark.parametrize("then", sorted(PHASE))
def test_nothing_follows_a_terminal_state(end: str, then: str) -> None:
    """An ended watch takes nothing in: no state, no loss, no stall."""
    watch = follow(end)[0].watch
    assert step(watch, seen(then), T0) == Step(watch=watch)
    assert give_up(watch, LostReason.DEADLINE, "too long", T0) == Step(watch=watch)
    assert stall(watch, 60, T0) == Step(watch=watch)


@pytest.mark.parametrize(("before", "then"), list(itertools.product(sorted(TERMINAL), Phase)))
def test_a_terminal_phase_is_an_end_though_the_watch_was_not_marked(before: Phase, then: Phase) -> None:
    """The phase alone decides that nothing follows."""
    watch = replace(WATCH, state="over", phase=before, sequence=1)
    assert step(watch, Observation(state="other", phase=then), T0) == Step(watch=watch)


def test_every_pair_of_phases_is_decided() -> None:
    """The table has no gap, and every pair of phases follows it: a new phase needs a decision."""
    assert set(CHANGES) == set(Phase)
    for before, then in itertools.product((None, *Phase), Phase):
        watch = replace(WATCH, state=None if before is None else "before", phase=before)
        after = step(watch, Observation(state="then", phase=then), T0)
        expected = [] if before in TERMINAL else [CHANGES[then]]
        assert kinds(after) == expected
        assert after.watch.ended is (bool(expected) and then in TERMINAL)


def test_a_watch_is_given_up_once() -> None:
    """A loss is an event in the sequence; it keeps the state and ends the watch."""
    watch = follow("processing")[0].watch
    lost = give_up(watch, LostReason.NOT_FOUND, "unknown for 60 s", T0 + 5 * SECOND)
    (event,) = lost.events
    assert (event.type, event.at, event.observation) == (EventType.LOST, T0 + 5 * SECOND, None)
    assert event.extra == {"reason": "not_found", "detail": "unknown for 60 s"}
    assert (lost.watch.state, lost.watch.phase, lost.watch.sequence) == ("processing", Phase.RUNNING, 2)
    assert (event.previous_state, event.previous_phase) == ("processing", Phase.RUNNING)
    assert lost.watch.ended
    assert give_up(lost.watch, LostReason.NOT_FOUND, "again", T0) == Step(watch=lost.watch)
    assert step(lost.watch, seen("success"), T0) == Step(watch=lost.watch)


def test_a_stall_is_said_once_for_each_state() -> None:
    """It is said again only after something has changed in between; it does not count as a change itself."""
    watch = follow("processing")[0].watch
    first = stall(watch, 60.12345, T0 + 70 * SECOND)
    assert kinds(first) == [EventType.STALLED]
    assert first.events[0].extra == {"stalled_seconds": 60.123}
    assert (first.watch.changed_at, first.watch.sequence, first.watch.ended) == (watch.changed_at, 2, False)
    assert stall(first.watch, 120, T0 + 130 * SECOND) == Step(watch=first.watch)
    moved = step(first.watch, seen("queueing"), T0 + 140 * SECOND).watch
    assert kinds(stall(moved, 60, T0 + 200 * SECOND)) == [EventType.STALLED]


def test_a_stalled_watch_that_is_given_up_stays_stalled() -> None:
    """A loss does not undo what was said before."""
    stalled = stall(WATCH, 60, T0).watch
    assert give_up(stalled, LostReason.DEADLINE, "", T0).watch.stalled


@given(st.lists(OBSERVATIONS | st.sampled_from(["stall", "give up"]), max_size=30))
def test_any_history_counts_without_gaps_and_ends_at_most_once(happenings: list[Observation | str]) -> None:
    """Whatever happens: sequence 1, 2, 3 ...; each event tells what was before it; nothing comes after the end."""
    watch = WATCH
    events: list[Event] = []
    for n, happening in enumerate(happenings):
        if isinstance(happening, Observation):
            result = step(watch, happening, T0 + n)
        elif happening == "stall":
            result = stall(watch, 1.0, T0 + n)
        else:
            result = give_up(watch, LostReason.REFUSED, "", T0 + n)
        assert not (watch.ended and result.events)
        assert result.events or result.watch == watch
        assert all(
            (event.previous_state, event.previous_phase) == (watch.state, watch.phase) for event in result.events
        )
        events += result.events
        watch = result.watch
    assert [event.watch and event.watch.sequence for event in events] == list(range(1, len(events) + 1))
    told = [event for event in events if event.observation is not None]
    assert all(event.previous_state != (event.watch and event.watch.state) for event in told)
    final = {EventType.SUCCEEDED, EventType.FAILED, EventType.CANCELED, EventType.LOST}
    assert all(event.type not in final for event in events[:-1])
    assert watch.ended == bool(events and events[-1].type in final)


@given(st.lists(OBSERVATIONS, max_size=30))
def test_repeats_make_no_difference(observations: list[Observation]) -> None:
    """A history in which everything is reported twice tells the same as one without: reconnecting repeats reports."""

    def told(history: list[Observation]) -> list[tuple[EventType, str | None]]:
        watch = WATCH
        events: list[Event] = []
        for observation in history:
            result = step(watch, observation, T0)
            watch = result.watch
            events += result.events
        return [(event.type, event.watch.state if event.watch else None) for event in events]

    assert told([twice for each in observations for twice in (each, each)]) == told(observations)
