"""When an attempt may start: by the number in flight, the rate and the breaker, each alone and together."""

from __future__ import annotations

from notifier.core.breaker import TRIP_AFTER, Breaker, State
from notifier.core.retry import Delivered, Failed
from notifier.deliver.gate import PERMIT, PROBE, UNTIL_CHANGE, Gate, Wait

SECOND = 1_000_000
FAILED = Failed(reason="http_500")


def open_breaker(gate: Gate, now: int) -> None:
    for _ in range(TRIP_AFTER):
        gate.record(FAILED, now, probe=False)
    assert gate.state is State.OPEN


def test_no_more_start_than_the_limit() -> None:
    """The next one starts when one has left, or the limit is raised."""
    gate = Gate(limit=2, rate=None)
    assert [gate.enter(0, 0.0) for _ in range(3)] == [PERMIT, PERMIT, UNTIL_CHANGE]
    gate.leave()
    assert (gate.enter(0, 0.0), gate.in_flight) == (PERMIT, 2)
    gate.update(limit=3, rate=None)
    assert gate.enter(0, 0.0) == PERMIT


def test_the_rate_spaces_attempts() -> None:
    """The wait is told in seconds; a refused attempt takes no place and no token."""
    gate = Gate(limit=9, rate=4.0)
    assert gate.enter(0, 10.0) == PERMIT
    assert gate.enter(0, 10.0) == Wait(seconds=0.25)
    assert gate.in_flight == 1
    assert gate.enter(0, 10.25) == PERMIT
    gate.pause(20.0)
    assert gate.enter(0, 20.0) == Wait(seconds=0.25)


def test_a_new_rate_begins_anew_and_the_same_rate_goes_on() -> None:
    gate = Gate(limit=9, rate=1.0)
    assert gate.enter(0, 0.0) == PERMIT
    gate.update(limit=9, rate=1.0)
    assert gate.enter(0, 0.0) == Wait(seconds=1.0)
    gate.update(limit=9, rate=2.0)
    assert gate.enter(0, 0.0) == PERMIT


def test_an_open_breaker_lets_one_probe_through_after_its_cool_down() -> None:
    gate = Gate(limit=9, rate=None)
    open_breaker(gate, 0)
    assert gate.enter(0, 0.0) == Wait(seconds=1.0)
    assert (gate.ready(0), gate.ready_at(0)) == (False, SECOND)
    assert gate.enter(SECOND, 1.0) == PROBE
    assert isinstance(gate.enter(SECOND, 1.0), Wait)
    gate.record(Delivered(), SECOND, probe=True)
    assert (gate.state, gate.enter(SECOND, 1.0)) == (State.CLOSED, PERMIT)


def test_an_abandoned_probe_makes_room_for_another_at_once() -> None:
    """A closed breaker has no probe to abandon."""
    gate = Gate(limit=9, rate=None)
    gate.abandon_probe(0)
    assert gate.state is State.CLOSED
    open_breaker(gate, 0)
    assert gate.enter(SECOND, 1.0) == PROBE
    gate.abandon_probe(SECOND + 5)
    assert gate.enter(SECOND + 5, 1.0) == PROBE


def test_a_disabled_gate_waits_for_an_operator() -> None:
    gate = Gate(limit=9, rate=None)
    gate.restore(Breaker().disable())
    assert (gate.enter(SECOND, 1.0), gate.ready_at(SECOND)) == (UNTIL_CHANGE, None)
