"""An attempt may start when the number in flight, the rate and the breaker allow it, each alone and together."""

from __future__ import annotations

from notifier.core.breaker import Breaker, Silence, State
from notifier.core.condition import Condition
from notifier.core.recent import Shares
from notifier.core.retry import Delivered, Failed, Outcome
from notifier.deliver.gate import UNTIL_CHANGE, Closed, Gate, Permit

SECOND = 1_000_000
FAILED = Failed(reason="http_500")
SOON = Silence(many=5, seconds=0.0)


def enter(gate: Gate, now: int = 0, tick: float = 0.0) -> Permit:
    permit = gate.enter(now, tick)
    assert isinstance(permit, Permit)
    return permit


def end(gate: Gate, permit: Permit, outcome: Outcome, now: int = 0, tick: float = 0.0) -> None:
    gate.record(permit, outcome, now, tick, jitter=0.0)
    gate.leave(permit, tick)


def open_breaker(gate: Gate) -> None:
    for permit in [enter(gate) for _ in range(5)]:
        end(gate, permit, FAILED)
    assert gate.state is State.OPEN


def test_no_more_start_than_the_limit() -> None:
    """The next one starts when one has left, or the limit is raised."""
    gate = Gate(limit=2, rate=None)
    first, _ = enter(gate), enter(gate)
    assert gate.enter(0, 0.0) == UNTIL_CHANGE
    end(gate, first, Delivered())
    enter(gate)
    assert (gate.in_flight, gate.limit, gate.workers) == (2, 2, 2)
    gate.update(limit=3, rate=None)
    enter(gate)
    assert gate.in_flight == 3


def test_the_rate_spaces_attempts() -> None:
    """The wait is told in seconds; a refused attempt takes no place and no token."""
    gate = Gate(limit=9, rate=4.0)
    enter(gate, tick=10.0)
    assert gate.enter(0, 10.0) == Closed(seconds=0.25)
    assert gate.in_flight == 1
    enter(gate, tick=10.25)
    gate.pause(20.0)
    assert gate.enter(0, 20.0) == Closed(seconds=0.25)


def test_a_new_rate_begins_anew_and_the_same_rate_goes_on() -> None:
    gate = Gate(limit=9, rate=1.0)
    enter(gate)
    gate.update(limit=9, rate=1.0)
    assert gate.enter(0, 0.0) == Closed(seconds=1.0)
    gate.update(limit=9, rate=2.0)
    enter(gate)


def test_a_refused_attempt_rests_its_place() -> None:
    """A token of the rate is not spent while it does."""
    gate = Gate(limit=1, rate=1000.0)
    end(gate, enter(gate), FAILED)
    wait = gate.enter(0, 0.05)
    assert isinstance(wait, Closed)
    assert wait.seconds is not None
    assert 0 < wait.seconds < 0.1
    enter(gate, tick=0.2)


def test_an_open_breaker_lets_one_probe_through_after_its_cool_down() -> None:
    """Its success lets one attempt at a time follow."""
    gate = Gate(limit=9, rate=None, silence=SOON)
    open_breaker(gate)
    assert gate.enter(0, 0.0) == Closed(seconds=1.0)
    assert (gate.ready(0), gate.ready_at(0)) == (False, SECOND)
    probe = enter(gate, SECOND, 1.0)
    assert probe.probe
    assert isinstance(gate.enter(SECOND, 1.0), Closed)
    end(gate, probe, Delivered(), SECOND, 1.0)
    assert not enter(gate, SECOND, 1.0).probe
    assert (gate.state, gate.limit) == (State.CLOSED, 1)


def test_an_abandoned_probe_makes_room_for_another_at_once() -> None:
    """A closed breaker has no probe to abandon."""
    gate = Gate(limit=9, rate=None, silence=SOON)
    gate.abandon(0, 0.0)
    assert gate.state is State.CLOSED
    open_breaker(gate)
    abandoned = enter(gate, SECOND, 1.0)
    gate.abandon(SECOND + 5, 1.0)
    assert enter(gate, SECOND + 5, 1.0).probe
    assert (gate.in_flight, gate.workers) == (2, 10)
    gate.leave(abandoned, 1.0)
    assert (gate.in_flight, gate.workers) == (1, 9)


def test_a_disabled_gate_waits_for_an_operator() -> None:
    gate = Gate(limit=9, rate=None)
    gate.restore(Breaker().disable(), 0.0)
    assert (gate.enter(SECOND, 1.0), gate.ready_at(SECOND)) == (UNTIL_CHANGE, None)
    assert gate.condition(SECOND, 1.0) is Condition.DISABLED


def test_another_receiver_begins_well() -> None:
    """The outcomes that the receiver before it gave are forgotten."""
    gate = Gate(limit=9, rate=None, silence=SOON)
    open_breaker(gate)
    assert gate.shares(0.0) == Shares(accepted=0, refused=5, reason="http_500", seconds=5.0)
    gate.renew()
    assert (gate.state, gate.shares(0.0).refused, gate.condition(0, 0.0)) == (State.CLOSED, 0, Condition.OK)
