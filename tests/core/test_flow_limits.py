"""An attempt may go out when the number in flight, the rate and the breaker allow it, each alone and together."""

from __future__ import annotations

from notifier.core.breaker import Breaker, Silence, State
from notifier.core.flow import Flow, Ticket
from notifier.core.recent import Shares
from notifier.core.retry import Delivered, Failed, Outcome

SECOND = 1_000_000
FAILED = Failed(reason="http_500")
SOON = Silence(many=5, seconds=0.0)


def admit(flow: Flow, now: int = 0, tick: float = 0.0) -> Ticket:
    assert flow.wait(now, tick) == 0.0
    return flow.admit(now, tick)


def end(flow: Flow, ticket: Ticket, outcome: Outcome, now: int = 0, tick: float = 0.0) -> None:
    flow.record(ticket, outcome, now, tick, jitter=0.0)
    flow.ended(ticket, tick)


def open_breaker(flow: Flow) -> None:
    for ticket in [admit(flow) for _ in range(5)]:
        end(flow, ticket, FAILED)
    assert flow.breaker.state is State.OPEN


def test_no_more_start_than_the_limit() -> None:
    """The next one starts when one has left, or the limit is raised."""
    flow = Flow(2)
    first, _ = admit(flow), admit(flow)
    assert flow.wait(0, 0.0) is None
    end(flow, first, Delivered())
    admit(flow)
    assert (flow.in_flight, flow.limit, flow.workers) == (2, 2, 2)
    flow.update(3, None)
    admit(flow)
    assert flow.in_flight == 3


def test_the_rate_spaces_attempts() -> None:
    """The wait is told in seconds; a refused attempt takes no place and no token."""
    flow = Flow(9, rate_limit=4.0)
    admit(flow, tick=10.0)
    assert flow.wait(0, 10.0) == 0.25
    assert flow.in_flight == 1
    admit(flow, tick=10.25)
    flow.delay(20.0)
    assert flow.wait(0, 20.0) == 0.25


def test_a_new_rate_begins_anew_and_the_same_rate_goes_on() -> None:
    flow = Flow(9, rate_limit=1.0)
    admit(flow)
    flow.update(9, 1.0)
    assert flow.wait(0, 0.0) == 1.0
    flow.update(9, 2.0)
    admit(flow)


def test_a_refused_attempt_rests_its_place() -> None:
    """A token of the rate is not spent while it does."""
    flow = Flow(1, rate_limit=1000.0)
    end(flow, admit(flow), FAILED)
    pause = flow.wait(0, 0.05)
    assert pause is not None
    assert 0 < pause < 0.1
    admit(flow, tick=0.2)


def test_an_open_breaker_lets_one_probe_through_after_its_cool_down() -> None:
    """Its success lets one attempt at a time follow."""
    flow = Flow(9, silence=SOON)
    open_breaker(flow)
    assert flow.wait(0, 0.0) == 1.0
    assert (flow.breaker.ready(0), flow.ready_at(0)) == (False, SECOND)
    probe = admit(flow, SECOND, 1.0)
    assert probe.probe
    assert flow.wait(SECOND, 1.0) != 0.0
    end(flow, probe, Delivered(), SECOND, 1.0)
    assert not admit(flow, SECOND, 1.0).probe
    assert (flow.breaker.state, flow.limit) == (State.CLOSED, 1)


def test_an_abandoned_probe_makes_room_for_another_at_once() -> None:
    """A closed breaker has no probe to abandon."""
    flow = Flow(9, silence=SOON)
    flow.abandon(0, 0.0)
    assert flow.breaker.state is State.CLOSED
    open_breaker(flow)
    abandoned = admit(flow, SECOND, 1.0)
    flow.abandon(SECOND + 5, 1.0)
    assert admit(flow, SECOND + 5, 1.0).probe
    assert (flow.in_flight, flow.workers) == (2, 10)
    flow.ended(abandoned, 1.0)
    assert (flow.in_flight, flow.workers) == (1, 9)


def test_a_disabled_flow_waits_for_an_operator() -> None:
    flow = Flow(9)
    flow.set_breaker(Breaker().disable(), 0.0)
    assert (flow.wait(SECOND, 1.0), flow.ready_at(SECOND)) == (None, None)


def test_another_receiver_begins_well() -> None:
    """The outcomes that the receiver before it gave are forgotten."""
    flow = Flow(9, silence=SOON)
    open_breaker(flow)
    assert flow.recent.shares(0.0) == Shares(accepted=0, refused=5, reason="http_500", seconds=5.0)
    flow.renew()
    assert (flow.breaker.state, flow.recent.shares(0.0).refused) == (State.CLOSED, 0)
