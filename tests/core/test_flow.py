"""What may be sent to an endpoint."""

from __future__ import annotations

import pytest
from flow_model import TIMEOUT, refusal, told, wall

from notifier.core.breaker import Breaker, Silence, State
from notifier.core.condition import Condition
from notifier.core.flow import LONGER_EVERY, LONGEST_REST, PATIENT_RUN, SICK_RATE, Flow, Ticket
from notifier.core.recent import Shares
from notifier.core.retry import Delivered, Failed, Gone, Outcome, Rejected

MANY, SILENCE = Silence().many, Silence().seconds
OURS = Failed(reason="dns", spend=False)


def admit(flow: Flow, tick: float = 0.0) -> Ticket:
    assert flow.wait(wall(tick), tick) == 0.0
    return flow.admit(wall(tick), tick)


def end(flow: Flow, ticket: Ticket, outcome: Outcome, tick: float) -> None:
    flow.record(ticket, outcome, wall(tick), tick, jitter=0.0)
    flow.ended(ticket, tick)


def attempt(flow: Flow, outcome: Outcome, tick: float, seconds: float = 0.1) -> None:
    end(flow, admit(flow, tick), outcome, tick + seconds)


def outage(flow: Flow, tick: float = 0.0) -> float:
    """Have everything refused until the breaker opens; return when it lets a probe out."""
    tickets = [flow.admit(wall(tick), tick) for _ in range(MANY)]
    for ticket in tickets:
        end(flow, ticket, refusal(503), tick + SILENCE)
    assert flow.breaker.state is State.OPEN
    wait = flow.wait(wall(tick + SILENCE), tick + SILENCE)
    assert wait is not None
    return tick + SILENCE + wait


# -- places


def test_as_many_go_out_as_may_be_in_flight() -> None:
    """Then nothing until one ends."""
    flow = Flow(3)
    tickets = [admit(flow) for _ in range(3)]
    assert flow.wait(wall(0.0), 0.0) is None
    end(flow, tickets[0], Delivered(), 0.1)
    assert flow.wait(wall(0.1), 0.1) == 0.0
    flow.update(2, None)
    assert flow.wait(wall(0.1), 0.1) is None
    assert flow.limit == 2


def test_a_refused_place_rests_as_long_as_an_accepted_attempt_takes() -> None:
    """Less what the refusal itself took."""
    flow = Flow(1)
    attempt(flow, Delivered(), 0.0, seconds=0.5)
    attempt(flow, refusal(503), 1.0, seconds=0.1)
    assert flow.wait(wall(1.1), 1.1) == pytest.approx(0.4)
    assert flow.wait(wall(1.5), 1.5) == 0.0
    attempt(flow, refusal(503), 2.0, seconds=0.7)
    assert flow.wait(wall(2.7), 2.7) == 0.0


def test_places_rest_longer_where_nothing_is_accepted() -> None:
    """Down to SICK_RATE for all places together; the first success ends it."""
    flow, now = Flow(8), 0.0
    for _ in range(PATIENT_RUN):
        now += flow.wait(wall(now), now) or 0.0
        attempt(flow, refusal(500), now, seconds=0.001)
    began = now
    for _ in range(LONGER_EVERY * 4):
        now += flow.wait(wall(now), now) or 0.0
        attempt(flow, refusal(500), now, seconds=0.001)
    assert now - began > LONGER_EVERY * 4 / (8 / 0.1)
    assert flow.breaker.state is State.CLOSED
    rests = sorted(until - now for until in flow._resting)
    assert rests[-1] <= 8 / SICK_RATE
    assert rests[-1] > LONGEST_REST
    now += flow.wait(wall(now), now) or 0.0
    attempt(flow, Delivered(), now)
    assert max(flow._resting) <= now + 0.1 + LONGEST_REST


def test_what_says_nothing_of_the_endpoint_changes_nothing() -> None:
    """Faults of our own, messages that were not sent, attempts through a sender that was replaced."""
    flow = Flow(4)
    attempt(flow, Failed(reason="internal", proves=False), 0.0)
    attempt(flow, Rejected(reason="template", well=None), 0.0)
    flow.ended(admit(flow), 0.1)
    assert flow.in_flight == 0
    assert flow.breaker == Breaker()
    assert flow.recent.shares(0.1) == Shares(accepted=0, refused=0, reason=None, seconds=5.0)
    assert flow.wait(wall(0.1), 0.1) == 0.0


def test_what_is_disabled_gets_nothing() -> None:
    """Until somebody enables it; then it begins from one."""
    flow = Flow(4)
    attempt(flow, Gone(reason="http_410"), 0.0)
    assert flow.wait(wall(1.0), 1.0) is None
    flow.set_breaker(flow.breaker.enable(), 2.0)
    assert flow.wait(wall(2.0), 2.0) == 0.0
    assert flow.limit == 1


def test_another_receiver_is_another_matter() -> None:
    """All that was known is forgotten; attempts in flight still end."""
    flow = Flow(8)
    ticket = admit(flow)
    outage(flow)
    flow.renew()
    assert (flow.breaker, flow.limit, flow.rate) == (Breaker(), 8, None)
    assert told(flow, 11.0) is Condition.OK
    end(flow, ticket, Delivered(), 11.0)
    assert flow.in_flight == 0


# -- outages


def test_after_an_outage_the_window_begins_from_one() -> None:
    """A single probe, then one attempt at a time, then more."""
    flow = Flow(8)
    now = outage(flow)
    ticket = admit(flow, now)
    assert ticket.probe
    wait = flow.wait(wall(now), now)
    assert wait is not None
    assert wait > 60
    end(flow, ticket, Delivered(), now + 0.1)
    limits = []
    now += 0.1
    for _ in range(8):
        limits.append(flow.limit)
        now += 0.5
        for _ in range(flow.limit):
            attempt(flow, Delivered(), now, seconds=0.0)
    assert limits == [1, 2, 4, 8, 8, 8, 8, 8]


def test_another_nodes_success_begins_from_one_as_well() -> None:
    """No node sends all of its backlog at once."""
    flow = Flow(8)
    outage(flow)
    flow.set_breaker(Breaker(), 20.0)
    assert flow.limit == 1
    assert flow.wait(wall(20.0), 20.0) == 0.0


def test_a_silent_message_counts_as_refused() -> None:
    """A service whose messages must not be repeated is dead as any other."""
    flow = Flow(32)
    tickets = [admit(flow) for _ in range(MANY)]
    for ticket in tickets:
        end(flow, ticket, Rejected(reason="timeout", well=False), SILENCE)
    assert flow.breaker.state is State.OPEN
    assert flow.recent.shares(SILENCE).reason == "timeout"


def test_a_rejected_message_counts_as_accepted() -> None:
    """The endpoint answered."""
    flow = Flow(1)
    attempt(flow, Rejected(reason="no_text"), 0.0)
    attempt(flow, Rejected(reason="no_text"), 0.2, seconds=-1.0)
    assert flow.recent.shares(0.1).accepted == 2


def test_attempts_that_hang_since_before_an_outage_take_no_place() -> None:
    """The window that begins from one would be full for as long as they hang; they still count for the cap."""
    flow = Flow(MANY + 2)
    hanging = [admit(flow) for _ in range(2)]
    now = outage(flow)
    attempt(flow, Delivered(), now)
    assert flow.limit == 1
    fresh = admit(flow, now + 0.1)
    assert flow.wait(wall(now + 0.2), now + 0.2) is None
    end(flow, fresh, Delivered(), now + 0.2)
    flow.update(2, None)
    assert flow.wait(wall(now + 0.2), now + 0.2) is None
    for ticket in hanging:
        end(flow, ticket, TIMEOUT, now + 0.3)
    assert (flow.in_flight, flow.wait(wall(now + 2), now + 2)) == (0, 0.0)


def test_a_success_tells_of_a_short_outage() -> None:
    """Since when attempts failed."""
    flow = Flow(8)
    for _ in range(5):
        attempt(flow, refusal(503), 1.0)
    ticket = admit(flow, 3.0)
    assert flow.record(ticket, Delivered(), wall(3.1), 3.1, jitter=0.0) == wall(1.1)


# -- pauses


def test_a_request_for_patience_pauses_and_halves() -> None:
    """429 is about the rate: less goes out when the pause is over, and soon more again."""
    flow = Flow(8)
    attempt(flow, refusal(429, 30), 0.0)
    assert flow.wait(wall(10.1), 10.1) == pytest.approx(20.0)
    assert told(flow, 10.1) is Condition.PAUSED
    assert flow.limit == 4
    attempt(flow, Delivered(), 40.0)
    assert told(flow, 40.1) is Condition.OK
    for _ in range(4):
        attempt(flow, Delivered(), 40.2)
    assert flow.limit == 5


def test_a_503_with_a_time_holds_its_message_alone_while_others_are_accepted() -> None:
    """One bad backend of many; a second without any success is another matter."""
    flow = Flow(8)
    attempt(flow, Delivered(), 0.0)
    attempt(flow, refusal(503, 30), 0.5)
    assert flow.wait(wall(0.7), 0.7) == 0.0
    attempt(flow, refusal(503, 30), 1.2)
    assert told(flow, 1.4) is Condition.PAUSED
    assert flow.limit == 8


@pytest.mark.parametrize(("outcome", "falls"), [(TIMEOUT, True), (refusal(503), True), (refusal(500), False)])
def test_time_outs_are_of_load_and_faults_of_the_server_are_not(outcome: Failed, falls: bool) -> None:
    """A receiver of one place that times out gets fewer attempts; one that answers 500 gets them as before."""
    flow, now = Flow(8), 0.0
    for _ in range(10):
        tickets = [flow.admit(wall(now), now) for _ in range(8)]
        end(flow, tickets[0], Delivered(), now + 1.0)
        for ticket in tickets[1:]:
            end(flow, ticket, outcome, now + 1.0)
        now += 2.0
    assert (flow.limit < 8) is falls
    assert flow.typical == pytest.approx(1.0)
