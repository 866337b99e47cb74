"""When an endpoint is left alone, for how long, and what brings it back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.breaker import (
    FEW,
    FIRST_WAIT,
    LONGEST_OWN_WAIT,
    LONGEST_WAIT,
    PROBE_PATIENCE,
    SPREAD,
    UNUSUAL,
    AttemptContext,
    Breaker,
    Silence,
    State,
    own_fault,
)
from notifier.core.retry import LONGEST_OBEYED, Delivered, Failed, Gone, Outcome, Rejected

SECOND = 1_000_000
RULE = Silence()
MANY, SILENCE, LONG_SILENCE = RULE.many, RULE.seconds, RULE.long
T0 = 1_700_000_000 * SECOND
FAILED = Failed(reason="http_500")
OVERLOADED = Failed(reason="http_503", throttle=True)
PATIENCE = Failed(reason="http_503", throttle=True, retry_after=30.0)
LIMITED = Failed(reason="http_429", throttle=True, spend=False, retry_after=30.0)
UNHINTED = Failed(reason="http_429", throttle=True, spend=False)
OURS = Failed(reason="dns", spend=False)
UNASKED = Rejected(reason="template", well=None)
OUR_FAULT = Failed(reason="internal", proves=False)


def record(
    breaker: Breaker, outcome: Outcome, now: int = T0, *, probe: bool = False, lately: bool = False, jitter: float = 0.0
) -> Breaker:
    """Record an attempt that took no time."""
    return breaker.record(outcome, AttemptContext(now=now, began=now, probe=probe, lately=lately, jitter=jitter))


def silent(outcome: Outcome = FAILED, now: int = T0, breaker: Breaker | None = None) -> Breaker:
    """Return a breaker after MANY failures, of which the last one ends a SILENCE."""
    breaker = Breaker() if breaker is None else breaker
    for _ in range(MANY - 1):
        breaker = record(breaker, outcome, now - round(SILENCE * SECOND))
    return record(breaker, outcome, now)


def half_open(now: int = T0 + 1 * SECOND) -> Breaker:
    breaker, probe = silent().admit(now)
    assert probe
    return breaker


def throttled(now: int = T0) -> Breaker:
    return record(Breaker(), LIMITED, now)


def disabled() -> Breaker:
    return record(Breaker(), Gone(reason="http_410"))


IN = {
    State.CLOSED: Breaker(),
    State.THROTTLED: throttled(),
    State.OPEN: silent(),
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
        (OVERLOADED, ["closed", "throttled", "open", "half_open", "disabled"]),
        (UNHINTED, ["closed", "throttled", "open", "half_open", "disabled"]),
        (PATIENCE, ["throttled", "throttled", "open", "half_open", "disabled"]),
        (LIMITED, ["throttled", "throttled", "open", "half_open", "disabled"]),
        (OURS, ["throttled", "throttled", "open", "half_open", "disabled"]),
        (Gone(reason="http_410"), ["disabled"] * 5),
    ],
    ids=[
        "delivered",
        "rejected",
        "unheard",
        "unasked",
        "our_fault",
        "failed",
        "overloaded",
        "unhinted",
        "patience",
        "limited",
        "ours",
        "gone",
    ],
)
def test_every_outcome_is_decided_in_every_state(state: State, outcome: Outcome, then: list[str]) -> None:
    """By attempts that are not the probe; those that went out earlier may come in at any time."""
    after = record(IN[state], outcome, T0 + 2 * SECOND)
    assert after.state == then[list(State).index(state)]


# -- open


@pytest.mark.parametrize(
    ("attempts", "seconds", "opens"),
    [
        (MANY, SILENCE, True),
        (MANY - 1, SILENCE, False),
        (MANY, SILENCE - 0.001, False),
        (FEW, LONG_SILENCE, True),
        (FEW - 1, LONG_SILENCE, False),
        (FEW, LONG_SILENCE - 0.001, False),
        (10_000, 9.0, False),
    ],
)
@pytest.mark.parametrize("outcome", [FAILED, OVERLOADED, UNHINTED, Rejected(reason="timeout", well=False)])
def test_it_opens_by_silence_and_not_by_a_run(outcome: Outcome, attempts: int, seconds: float, opens: bool) -> None:
    """Nothing accepted in many attempts and some seconds, or in few attempts and a minute."""
    breaker = Breaker()
    for _ in range(attempts - 1):
        breaker = record(breaker, outcome)
    breaker = record(breaker, outcome, T0 + round(seconds * SECOND))
    assert breaker.state is (State.OPEN if opens else State.CLOSED)


def test_one_success_ends_a_silence() -> None:
    """However many failed before it."""
    breaker = Breaker()
    for step in range(200):
        outcome = Delivered() if step % MANY == MANY - 1 else FAILED
        breaker = record(breaker, outcome, T0 + step * SECOND)
        assert breaker.ready(T0 + step * SECOND)


def test_an_endpoint_that_refuses_most_is_not_silent_so_soon() -> None:
    """Ten refusals between two successes are usual there: chance alone makes twenty."""
    breaker, attempts = Breaker(), 0
    while breaker.state is State.CLOSED:
        breaker = breaker.record(
            FAILED, AttemptContext(now=T0 + attempts * SECOND, began=T0 + attempts * SECOND, usual=10.0)
        )
        attempts += 1
    assert attempts == UNUSUAL * 10


def test_silence_begins_when_the_first_attempt_went_out() -> None:
    """A black hole is known after its first time-outs, and not after as long again."""
    breaker = Breaker()
    for _ in range(MANY):
        breaker = breaker.record(Failed(reason="timeout"), AttemptContext(now=T0 + 15 * SECOND, began=T0))
    assert breaker.state is State.OPEN
    assert breaker.failing_since == T0 + 15 * SECOND


def test_a_clock_set_back_begins_the_silence_anew() -> None:
    """A beginning that lies in the future does not keep it closed for hours."""
    breaker = record(Breaker(), FAILED, T0 + 3600 * SECOND)
    for step in range(MANY):
        breaker = record(breaker, FAILED, T0 + step * SECOND)
    assert breaker.state is State.OPEN


def test_it_fails_for_as_long_as_nothing_was_accepted() -> None:
    """A single refusal is no failing; 429 counts, and the beginning outlives a restart."""
    assert Breaker().fails_for(T0) == 0.0
    once = record(Breaker(), FAILED)
    assert once.fails_for(T0 + 9 * SECOND) == 0.0
    assert record(once, FAILED).fails_for(T0 + 9 * SECOND) == 9.0
    assert record(record(Breaker(), UNHINTED), UNHINTED).fails_for(T0 + 9 * SECOND) == 9.0
    restarted = record(record(Breaker(failing_since=T0 - 50 * SECOND), FAILED), FAILED)
    assert restarted.fails_for(T0) == 50.0
    assert record(once, FAILED).disable().fails_for(T0 + 9 * SECOND) == 0.0
    assert record(record(once, FAILED), Delivered()).fails_for(T0 + 9 * SECOND) == 0.0
    assert Breaker(refused=9).fails_for(T0) == 0.0


@pytest.mark.parametrize(
    ("failures", "seconds", "usual", "ends"),
    [(FEW, 1.0, 0.0, True), (FEW - 1, 1.0, 0.0, False), (FEW, 0.999, 0.0, False), (FEW, 1.0, 1.0, False)],
)
def test_a_success_ends_a_short_outage(failures: int, seconds: float, usual: float, ends: bool) -> None:
    """What failed in it need not wait for hours; chance is no outage, and a long one is told by its end."""
    breaker = Breaker()
    for _ in range(failures):
        breaker = record(breaker, FAILED)
    met = AttemptContext(now=T0 + round(seconds * SECOND), began=T0, usual=usual)
    assert breaker.short_outage(met) == (T0 if ends else None)
    assert silent().short_outage(replace(met, usual=0.0)) is None


@pytest.mark.parametrize("outcome", [UNASKED, OUR_FAULT])
@pytest.mark.parametrize("state", State)
def test_a_message_that_was_never_sent_proves_nothing(state: State, outcome: Outcome) -> None:
    """A fault of our template or program neither closes nor opens, and changes no count and no wait."""
    assert record(IN[state], outcome, T0 + 2 * SECOND) == IN[state]
    if state is not State.HALF_OPEN:
        assert record(IN[state], outcome, T0 + 2 * SECOND, probe=True) == IN[state]


@pytest.mark.parametrize("outcome", [UNASKED, OUR_FAULT])
def test_a_probe_that_was_never_sent_is_replaced_at_once(outcome: Outcome) -> None:
    """The endpoint was not asked: it waits no longer, and its next cool-down is as long as it would have been."""
    now = T0 + 2 * SECOND
    breaker = record(half_open(), outcome, now, probe=True)
    assert (breaker.state, breaker.failures, breaker.refused) == (State.OPEN, MANY, MANY)
    assert breaker.ready(now)
    breaker, probe = breaker.admit(now)
    assert probe
    failed = record(breaker, FAILED, now, probe=True)
    assert failed.not_before == record(half_open(now), FAILED, now, probe=True).not_before


def test_a_single_probe_goes_out() -> None:
    """Half open lets nothing else through."""
    breaker = half_open()
    assert breaker.state is State.HALF_OPEN
    assert not breaker.ready(T0 + 100 * SECOND)
    assert record(breaker, Delivered(), T0 + 2 * SECOND, probe=True) == Breaker()


def test_a_lost_probe_is_replaced() -> None:
    """An attempt without any outcome does not hold the endpoint for ever."""
    breaker = half_open(T0 + 1 * SECOND)
    again = T0 + round((1 + PROBE_PATIENCE) * SECOND)
    assert breaker.wake_at() == again
    assert breaker.ready(again)
    breaker, probe = breaker.admit(again)
    assert probe
    assert not breaker.ready(again)


def test_cool_downs_double_up_to_a_minute() -> None:
    """1, 2, 4 ... 60 s while probes fail, and no further, also after ten thousand."""
    breaker, now, waits = silent(), T0, []
    for _ in range(10_000):
        waits.append((breaker.not_before - now) / SECOND)
        now = breaker.not_before
        breaker, probe = breaker.admit(now)
        breaker = record(breaker, FAILED, now, probe=probe)
        assert breaker.state is State.OPEN
    assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert set(waits[8:]) == {LONGEST_WAIT}


def test_cool_downs_are_spread() -> None:
    """Endpoints that failed together are not probed together, and none later than promised."""
    waits = {record(half_open(T0), FAILED, T0, probe=True, jitter=step / 10).not_before - T0 for step in range(10)}
    assert len(waits) == 10
    assert max(waits) == 2 * SECOND
    assert min(waits) > (1 - SPREAD) * 2 * SECOND


def test_a_success_forgets_the_cool_downs() -> None:
    """The next outage begins with a second again."""
    breaker = record(record(half_open(), FAILED, T0 + 1 * SECOND, probe=True), Delivered(), T0 + 2 * SECOND)
    now = T0 + 60 * SECOND
    assert silent(FAILED, now, breaker).not_before == now + FIRST_WAIT * SECOND


def test_late_failures_do_not_lengthen_the_cool_down() -> None:
    """32 attempts that were out together are one outage."""
    breaker = silent()
    for _ in range(32):
        breaker = record(breaker, FAILED, T0 + SECOND // 2)
    assert (breaker.state, breaker.not_before) == (State.OPEN, T0 + 1 * SECOND)


def test_a_late_request_for_patience_lengthens_the_cool_down() -> None:
    """As asked, and as one of all: none shortens what another asked for."""
    breaker = record(record(silent(), PATIENCE), replace(PATIENCE, retry_after=5.0))
    assert (breaker.state, breaker.not_before) == (State.OPEN, T0 + 30 * SECOND)


def test_a_late_failure_is_not_the_probes() -> None:
    """While the probe is out, older attempts that fail decide nothing."""
    breaker = record(half_open(), FAILED, T0 + 2 * SECOND)
    assert breaker.state is State.HALF_OPEN
    assert record(breaker, Delivered(), T0 + 3 * SECOND, probe=True).state is State.CLOSED


def test_a_probe_that_outlived_its_state_counts_as_any_attempt() -> None:
    """A late success closed the breaker meanwhile: one failure does not open it."""
    breaker = record(half_open(), Delivered(), T0 + 2 * SECOND)
    assert record(breaker, FAILED, T0 + 3 * SECOND, probe=True).state is State.CLOSED
    assert record(breaker, OURS, T0 + 3 * SECOND, probe=True).state is State.THROTTLED


@pytest.mark.parametrize(("outcome", "seconds"), [(OURS, 1), (UNHINTED, 1), (LIMITED, 30)])
def test_a_probe_that_failed_for_free_does_not_double(outcome: Failed, seconds: int) -> None:
    """It opens again for as long as before, or as asked."""
    now = T0 + 1 * SECOND
    breaker = record(half_open(now), outcome, now, probe=True)
    assert (breaker.state, breaker.not_before) == (State.OPEN, now + seconds * SECOND)
    assert breaker.failures == MANY


# -- throttled


def test_throttling_waits_as_asked_and_charges_nothing() -> None:
    """429 with a hint: not before, then everything again, and no failure on the account."""
    breaker = throttled()
    assert not breaker.ready(T0 + 30 * SECOND - 1)
    assert breaker.ready(T0 + 30 * SECOND)
    assert (breaker.failures, breaker.failing_since) == (0, None)
    breaker, probe = breaker.admit(T0 + 30 * SECOND)
    assert (breaker.state, probe) == (State.CLOSED, False)
    assert breaker.ready(T0 + 30 * SECOND)


@pytest.mark.parametrize("outcome", [OVERLOADED, UNHINTED, replace(PATIENCE, retry_after=0.0), FAILED])
def test_a_refusal_without_a_time_holds_nothing(outcome: Failed) -> None:
    """It delays its own delivery."""
    breaker = Breaker()
    for _ in range(100):
        breaker = record(breaker, outcome)
    assert breaker.ready(T0)


def test_one_bad_backend_does_not_speak_for_all() -> None:
    """`Retry-After` of a 503 holds the endpoint only where nothing was accepted lately; that of a 429 always does."""
    assert record(Breaker(), PATIENCE, lately=True).ready(T0)
    assert not record(Breaker(), PATIENCE).ready(T0)
    assert not record(Breaker(), LIMITED, lately=True).ready(T0)
    assert record(record(Breaker(), PATIENCE), Delivered()) == Breaker()  # another backend accepted what was in flight


def test_a_success_does_not_cut_the_patience_short() -> None:
    """An attempt that went out before the 429 says nothing about it, also if a 503 came in between."""
    assert record(throttled(), Delivered(), T0 + 1 * SECOND).not_before == T0 + 30 * SECOND
    both = record(record(throttled(), PATIENCE), Delivered(), T0 + 1 * SECOND)
    assert (both.state, both.not_before, both.refused) == (State.THROTTLED, T0 + 30 * SECOND, 0)


def test_firmness_ends_with_its_pause() -> None:
    """A 503 after the pause that a 429 asked for is a 503."""
    breaker, _ = throttled().admit(T0 + 30 * SECOND)
    assert record(record(breaker, PATIENCE, T0 + 40 * SECOND), Delivered(), T0 + 41 * SECOND) == Breaker()


def test_faults_of_our_own_delay_briefly() -> None:
    """1, 2, 4 ... 15 s; those of one round count once, and any success ends them."""
    breaker, now, waits = Breaker(), T0, []
    for _ in range(6):
        for _ in range(32):
            breaker = record(breaker, OURS, now)
        waits.append((breaker.not_before - now) / SECOND)
        now = breaker.not_before
        breaker, _ = breaker.admit(now)
    assert waits == [1, 2, 4, 8, LONGEST_OWN_WAIT, LONGEST_OWN_WAIT]
    breaker = record(record(breaker, Delivered(), now), OURS, now)
    assert breaker.not_before == now + 1 * SECOND
    assert record(breaker, Delivered(), now) == Breaker()


def test_faults_of_our_own_charge_nobody() -> None:
    """And hold nothing while others get through."""
    assert record(Breaker(), OURS, lately=True) == Breaker()
    breaker = Breaker()
    for step in range(100):
        breaker = record(breaker, OURS, T0 + step * 30 * SECOND)
        breaker, _ = breaker.admit(breaker.not_before)
    assert (breaker.failures, breaker.refused, breaker.failing_since) == (0, 0, None)
    assert [own_fault(outcome) for outcome in (OURS, OUR_FAULT, LIMITED, UNHINTED, FAILED)] == [True, True] + [
        False
    ] * 3


def test_a_later_hint_lengthens_the_round() -> None:
    """And an earlier one does not shorten it."""
    longer = replace(LIMITED, retry_after=90.0)
    assert record(throttled(), longer).not_before == T0 + 90 * SECOND
    assert record(record(throttled(), longer), LIMITED).not_before == T0 + 90 * SECOND


@pytest.mark.parametrize("outcome", [PATIENCE, LIMITED])
def test_a_hint_is_obeyed_for_a_day_at_most(outcome: Failed) -> None:
    """A slip of the endpoint does not silence it for a year."""
    assert record(Breaker(), replace(outcome, retry_after=1e9)).not_before == T0 + LONGEST_OBEYED * SECOND


def test_opening_keeps_what_the_endpoint_asked_for() -> None:
    """Failures that open a throttled breaker do not bring its end forward."""
    breaker = silent(FAILED, T0 + 10 * SECOND, throttled())
    assert (breaker.state, breaker.not_before) == (State.OPEN, T0 + 30 * SECOND)


# -- clocks, disabling


def test_a_clock_set_back_holds_nothing() -> None:
    """Nobody waits for the hours to pass a second time."""
    assert throttled().ready(T0 - 3600 * SECOND)
    assert silent().ready(T0 - 3600 * SECOND)


def test_disabled_is_final_until_enabled() -> None:
    """No time and no outcome brings it back; enabling begins anew."""
    breaker = disabled()
    assert not breaker.ready(T0 + 10**15)
    assert breaker.wake_at() is None
    assert breaker.admit(T0)[0].state is State.DISABLED
    assert record(record(breaker, FAILED), Delivered()).state is State.DISABLED
    assert record(breaker, PATIENCE).not_before == 0
    assert breaker.enable() == Breaker()


def test_a_long_outage_should_disable() -> None:
    """Longer than allowed without one success; a success or one's own fault in between matter, as they should."""
    breaker = silent()
    began = T0 - round(SILENCE * SECOND)
    day = 86_400.0
    assert not breaker.should_disable(began + round(day * SECOND), day)
    assert breaker.should_disable(began + round(day * SECOND) + 1, day)
    assert record(breaker, OURS, T0 + 5 * SECOND).should_disable(T0 + round(2 * day * SECOND), day)
    assert not breaker.should_disable(T0 + round(2 * day * SECOND), None)
    assert not record(breaker, Delivered()).should_disable(T0 + round(2 * day * SECOND), day)
    assert not breaker.disable().should_disable(T0 + round(2 * day * SECOND), day)
    assert not record(Breaker(), FAILED).should_disable(T0 + round(2 * day * SECOND), day)  # one is no outage


def test_an_outage_outlives_a_restart() -> None:
    """The stored beginning counts, once there are failures enough again."""
    breaker = Breaker(failing_since=T0)
    later = T0 + 10 * 86_400 * SECOND
    assert not breaker.should_disable(later, 86_400.0)
    for _ in range(FEW):
        breaker = record(breaker, FAILED, later)
    assert breaker.failing_since == T0
    assert breaker.should_disable(later, 86_400.0)


OUTCOMES = st.sampled_from(
    [Delivered(), FAILED, OVERLOADED, PATIENCE, LIMITED, UNHINTED, OURS, UNASKED, OUR_FAULT, Rejected(reason="no_text")]
)


@given(
    st.lists(
        st.tuples(OUTCOMES, st.integers(min_value=0, max_value=200 * SECOND), st.booleans(), st.booleans()), max_size=60
    )
)
def test_it_never_gets_stuck(steps: list[tuple[Outcome, int, bool, bool]]) -> None:
    """Whatever happens, short of disabling, an attempt may go out within the longest wait, and a success closes it."""
    breaker, now = Breaker(), T0
    for outcome, passed, drop, lately in steps:
        now += passed
        probe = False
        if breaker.ready(now):
            breaker, probe = breaker.admit(now)
        if not drop:
            breaker = record(breaker, outcome, now, probe=probe, lately=lately)
        assert breaker.not_before <= now + max(LONGEST_WAIT, PROBE_PATIENCE) * SECOND
    now = max(now, breaker.not_before)
    assert breaker.ready(now)
    breaker, probe = breaker.admit(now)
    assert record(breaker, Delivered(), now, probe=probe) == Breaker()


def test_every_pair_is_in_the_table() -> None:
    """Signals by states, none left out."""
    from notifier.core.breaker import _TABLE, Signal

    assert set(_TABLE) == set(Signal)
    assert all(len(row) == len(State) for row in _TABLE.values())
    assert all(isinstance(state, State) for state in itertools.chain(*_TABLE.values()))
