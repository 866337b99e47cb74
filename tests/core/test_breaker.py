"""When an endpoint is left alone, for how long, and what brings it back."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.breaker import FIRST_WAIT, LONGEST_WAIT, PROBE_PATIENCE, TRIP_AFTER, Breaker, State
from notifier.core.retry import LONGEST_OBEYED, Delivered, Failed, Gone, Outcome, Rejected

SECOND = 1_000_000
T0 = 1_700_000_000 * SECOND
FAILED = Failed(reason="http_500")
OVERLOADED = Failed(reason="http_503", throttle=True)
LIMITED = Failed(reason="http_429", throttle=True, spend=False, retry_after=30.0)
OURS = Failed(reason="dns", spend=False)
UNASKED = Rejected(reason="template", well=None)
OUR_FAULT = Failed(reason="internal", asked=False)


def tripped(now: int = T0) -> Breaker:
    breaker = Breaker()
    for _ in range(TRIP_AFTER):
        breaker = breaker.record(FAILED, now)
    return breaker


def half_open(now: int = T0 + 1 * SECOND) -> Breaker:
    breaker, probe = tripped().admit(now)
    assert probe
    return breaker


def throttled(now: int = T0) -> Breaker:
    return Breaker().record(LIMITED, now)


def disabled() -> Breaker:
    return Breaker().record(Gone(reason="http_410"), T0)


IN = {
    State.CLOSED: Breaker(),
    State.THROTTLED: throttled(),
    State.OPEN: tripped(),
    State.HALF_OPEN: half_open(),
    State.DISABLED: disabled(),
}


def test_the_examples_are_in_their_states() -> None:
    """Every state can be reached by what happens."""
    assert {state: breaker.state for state, breaker in IN.items()} == {state: state for state in State}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize(
    ("outcome", "then"),
    [
        (Delivered(), ["closed", "throttled", "closed", "closed", "disabled"]),
        (Rejected(reason="invalid_payload"), ["closed", "throttled", "closed", "closed", "disabled"]),
        (Rejected(reason="timeout", well=False), ["closed", "throttled", "open", "half_open", "disabled"]),
        (UNASKED, ["closed", "throttled", "open", "half_open", "disabled"]),
        (OUR_FAULT, ["closed", "throttled", "open", "half_open", "disabled"]),
        (FAILED, ["closed", "throttled", "open", "half_open", "disabled"]),
        (OVERLOADED, ["throttled", "throttled", "open", "half_open", "disabled"]),
        (LIMITED, ["throttled", "throttled", "open", "half_open", "disabled"]),
        (OURS, ["throttled", "throttled", "open", "half_open", "disabled"]),
        (Gone(reason="http_410"), ["disabled"] * 5),
    ],
    ids=["delivered", "rejected", "unheard", "unasked", "our_fault", "failed", "overloaded", "limited", "ours", "gone"],
)
def test_every_outcome_is_decided_in_every_state(state: State, outcome: Outcome, then: list[str]) -> None:
    """By attempts that are not the probe; those that went out earlier may come in at any time."""
    after = IN[state].record(outcome, T0 + 2 * SECOND)
    assert after.state == then[list(State).index(state)]


def test_it_trips_after_failures_in_a_row() -> None:
    """One less does nothing; a success between begins the count anew."""
    breaker = Breaker()
    outcomes: list[Outcome] = [*[FAILED] * (TRIP_AFTER - 1), Delivered(), *[FAILED] * (TRIP_AFTER - 1)]
    for outcome in outcomes:
        breaker = breaker.record(outcome, T0)
        assert breaker.ready(T0)
    breaker = breaker.record(FAILED, T0)
    assert breaker.state is State.OPEN
    assert not breaker.ready(T0 + 1 * SECOND - 1)
    assert breaker.ready(T0 + 1 * SECOND)
    assert breaker.wake_at() == T0 + 1 * SECOND


def test_silence_trips_it_also_where_messages_are_not_repeated() -> None:
    """A dead service does not swallow message after message because each may be sent only once."""
    breaker = Breaker()
    for _ in range(TRIP_AFTER):
        breaker = breaker.record(Rejected(reason="timeout", well=False), T0)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize("outcome", [UNASKED, OUR_FAULT])
@pytest.mark.parametrize("state", State)
def test_a_message_that_was_never_sent_proves_nothing(state: State, outcome: Outcome) -> None:
    """A fault of our template or program neither closes nor opens, and changes no count and no wait."""
    assert IN[state].record(outcome, T0 + 2 * SECOND) == IN[state]
    if state is not State.HALF_OPEN:
        assert IN[state].record(outcome, T0 + 2 * SECOND, probe=True) == IN[state]


@pytest.mark.parametrize("outcome", [UNASKED, OUR_FAULT])
def test_a_probe_that_was_never_sent_is_replaced_at_once(outcome: Outcome) -> None:
    """The endpoint was not asked: it waits no longer, and its next cool-down is as long as it would have been."""
    now = T0 + 2 * SECOND
    breaker = half_open().record(outcome, now, probe=True)
    assert (breaker.state, breaker.failures, breaker.failing_since) == (State.OPEN, TRIP_AFTER, T0)
    assert breaker.ready(now)
    breaker, probe = breaker.admit(now)
    assert probe
    failed = breaker.record(FAILED, now, probe=True)
    assert failed.not_before == half_open(now).record(FAILED, now, probe=True).not_before


def test_a_single_probe_goes_out() -> None:
    """Half open lets nothing else through."""
    breaker = half_open()
    assert breaker.state is State.HALF_OPEN
    assert not breaker.ready(T0 + 100 * SECOND)
    assert breaker.record(Delivered(), T0 + 2 * SECOND, probe=True) == Breaker()


def test_a_lost_probe_is_replaced() -> None:
    """An attempt of which nothing is ever heard does not hold the endpoint for ever."""
    breaker = half_open(T0 + 1 * SECOND)
    again = T0 + round((1 + PROBE_PATIENCE) * SECOND)
    assert breaker.wake_at() == again
    assert breaker.ready(again)
    breaker, probe = breaker.admit(again)
    assert probe
    assert not breaker.ready(again)


def test_cool_downs_double_up_to_a_minute() -> None:
    """1, 2, 4 ... 60 s while probes fail, and no further, also after ten thousand."""
    breaker, now, waits = tripped(), T0, []
    for _ in range(10_000):
        waits.append((breaker.not_before - now) / SECOND)
        now = breaker.not_before
        breaker, probe = breaker.admit(now)
        breaker = breaker.record(FAILED, now, probe=probe)
        assert breaker.state is State.OPEN
    assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert set(waits[8:]) == {LONGEST_WAIT}


def test_a_success_forgets_the_cool_downs() -> None:
    """The next outage begins with a second again."""
    breaker = half_open().record(FAILED, T0 + 1 * SECOND, probe=True).record(Delivered(), T0 + 2 * SECOND)
    for _ in range(TRIP_AFTER):
        breaker = breaker.record(FAILED, T0 + 3 * SECOND)
    assert breaker.not_before == T0 + 3 * SECOND + FIRST_WAIT * SECOND


def test_late_failures_do_not_lengthen_the_cool_down() -> None:
    """32 attempts that were out together are one outage."""
    breaker = tripped()
    for _ in range(32):
        breaker = breaker.record(FAILED, T0 + SECOND // 2)
    assert (breaker.state, breaker.not_before) == (State.OPEN, T0 + 1 * SECOND)


def test_a_late_failure_is_not_the_probes() -> None:
    """While the probe is out, older attempts that fail decide nothing."""
    breaker = half_open().record(FAILED, T0 + 2 * SECOND)
    assert breaker.state is State.HALF_OPEN
    assert breaker.record(Delivered(), T0 + 3 * SECOND, probe=True).state is State.CLOSED


def test_a_probe_that_outlived_its_state_counts_as_any_attempt() -> None:
    """A late success closed the breaker meanwhile: one failure does not open it."""
    breaker = half_open().record(Delivered(), T0 + 2 * SECOND)
    assert breaker.record(FAILED, T0 + 3 * SECOND, probe=True).state is State.CLOSED


@pytest.mark.parametrize(("outcome", "seconds"), [(OURS, 1), (LIMITED, 30)])
def test_a_probe_that_failed_for_free_does_not_double(outcome: Failed, seconds: int) -> None:
    """It opens again for as long as before, or as asked."""
    now = T0 + 1 * SECOND
    breaker = half_open(now).record(outcome, now, probe=True)
    assert (breaker.state, breaker.not_before) == (State.OPEN, now + seconds * SECOND)
    assert breaker.failures == TRIP_AFTER


def test_throttling_waits_as_asked_and_charges_nothing() -> None:
    """429 with a hint: not before, then everything again, and no failure on the account."""
    breaker = throttled()
    assert not breaker.ready(T0 + 30 * SECOND - 1)
    assert breaker.ready(T0 + 30 * SECOND)
    assert (breaker.failures, breaker.failing_since) == (0, None)
    breaker, probe = breaker.admit(T0 + 30 * SECOND)
    assert (breaker.state, probe) == (State.CLOSED, False)
    assert breaker.ready(T0 + 30 * SECOND)


def test_a_success_does_not_cut_the_patience_short() -> None:
    """An attempt that went out before the 429 says nothing about it."""
    assert throttled().record(Delivered(), T0 + 1 * SECOND).not_before == T0 + 30 * SECOND


def test_throttling_without_a_hint_grows_by_rounds() -> None:
    """Replies of one round count once; a success ends the growth."""
    breaker, now, waits = Breaker(), T0, []
    for _ in range(8):
        for _ in range(32):
            breaker = breaker.record(OURS, now)
        waits.append((breaker.not_before - now) / SECOND)
        now = breaker.not_before
        breaker, _ = breaker.admit(now)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    breaker = breaker.record(Delivered(), now).record(OURS, now)
    assert breaker.not_before == now + 1 * SECOND


def test_a_later_hint_lengthens_the_round() -> None:
    """And an earlier one does not shorten it."""
    longer = Failed(reason="http_429", throttle=True, spend=False, retry_after=90.0)
    assert throttled().record(longer, T0).not_before == T0 + 90 * SECOND
    assert throttled().record(longer, T0).record(LIMITED, T0).not_before == T0 + 90 * SECOND


def test_a_hint_is_obeyed_for_a_day_at_most() -> None:
    """A slip of the endpoint does not silence it for a year."""
    breaker = Breaker().record(Failed(reason="http_503", throttle=True, retry_after=1e9), T0)
    assert breaker.not_before == T0 + LONGEST_OBEYED * SECOND


def test_overload_is_throttled_then_tripped() -> None:
    """503 counts: the fifth in a row opens, and waits only ever grow."""
    breaker, now, seen = Breaker(), T0, []
    for _ in range(TRIP_AFTER):
        breaker = breaker.record(OVERLOADED, now)
        seen.append((breaker.state, (breaker.not_before - now) // SECOND))
        now = breaker.not_before
        breaker, probe = breaker.admit(now)
    assert probe
    assert seen == [*[(State.THROTTLED, wait) for wait in (1, 2, 4, 8)], (State.OPEN, 16)]


def test_tripping_keeps_what_the_endpoint_asked_for() -> None:
    """Failures that trip a throttled breaker do not bring its end forward."""
    breaker = throttled()
    for _ in range(TRIP_AFTER):
        breaker = breaker.record(FAILED, T0)
    assert (breaker.state, breaker.not_before) == (State.OPEN, T0 + 30 * SECOND)


def test_a_clock_set_back_holds_nothing() -> None:
    """Nobody waits for the hours to pass a second time."""
    assert throttled().ready(T0 - 3600 * SECOND)
    assert tripped().ready(T0 - 3600 * SECOND)


def test_disabled_is_final_until_enabled() -> None:
    """No time and no outcome brings it back; enabling begins anew."""
    breaker = disabled()
    assert not breaker.ready(T0 + 10**15)
    assert breaker.wake_at() is None
    assert breaker.admit(T0)[0].state is State.DISABLED
    assert breaker.record(FAILED, T0).record(Delivered(), T0).state is State.DISABLED
    assert breaker.enable() == Breaker()


def test_a_long_outage_should_disable() -> None:
    """Longer than allowed without one success; a success or one's own fault in between matter, as they should."""
    breaker = tripped(T0)
    day = 86_400.0
    assert not breaker.should_disable(T0 + round(day * SECOND), day)
    assert breaker.should_disable(T0 + round(day * SECOND) + 1, day)
    assert breaker.record(OURS, T0 + 5 * SECOND).should_disable(T0 + round(2 * day * SECOND), day)
    assert not breaker.should_disable(T0 + round(2 * day * SECOND), None)
    assert not breaker.record(Delivered(), T0).should_disable(T0 + round(2 * day * SECOND), day)
    assert not breaker.disable().should_disable(T0 + round(2 * day * SECOND), day)
    assert not Breaker().record(FAILED, T0).should_disable(T0 + round(2 * day * SECOND), day)  # one is no outage


def test_an_outage_outlives_a_restart() -> None:
    """The stored beginning counts, once there are failures enough again."""
    breaker = Breaker(failing_since=T0)
    later = T0 + 10 * 86_400 * SECOND
    assert not breaker.should_disable(later, 86_400.0)
    for _ in range(TRIP_AFTER):
        breaker = breaker.record(FAILED, later)
    assert breaker.failing_since == T0
    assert breaker.should_disable(later, 86_400.0)


OUTCOMES = st.sampled_from(
    [Delivered(), FAILED, OVERLOADED, LIMITED, OURS, UNASKED, OUR_FAULT, Rejected(reason="no_text")]
)


@given(st.lists(st.tuples(OUTCOMES, st.integers(min_value=0, max_value=200 * SECOND), st.booleans()), max_size=60))
def test_it_never_gets_stuck(steps: list[tuple[Outcome, int, bool]]) -> None:
    """Whatever happens, short of disabling, an attempt may go out within the longest wait, and a success closes it."""
    breaker, now = Breaker(), T0
    for outcome, passed, drop in steps:
        now += passed
        probe = False
        if breaker.ready(now):
            breaker, probe = breaker.admit(now)
        if not drop:
            breaker = breaker.record(outcome, now, probe=probe)
        assert breaker.not_before <= now + max(LONGEST_WAIT, PROBE_PATIENCE) * SECOND
    now = max(now, breaker.not_before)
    assert breaker.ready(now)
    breaker, probe = breaker.admit(now)
    assert breaker.record(Delivered(), now, probe=probe) == Breaker()


def test_every_pair_is_in_the_table() -> None:
    """Signals by states, none left out."""
    from notifier.core.breaker import _TABLE, Signal

    assert set(_TABLE) == set(Signal)
    assert all(len(row) == len(State) for row in _TABLE.values())
    assert all(isinstance(state, State) for state in itertools.chain(*_TABLE.values()))
