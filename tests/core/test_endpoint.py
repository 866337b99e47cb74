"""What is kept of an endpoint, who leads it, and what a node makes of what another met."""

from __future__ import annotations

from dataclasses import replace

import pytest

from notifier.core import endpoint
from notifier.core.breaker import FEW, Breaker, State
from notifier.core.endpoint import NEAR, LeaderRequest, News
from notifier.core.model import EndpointState

T = 1_000_000_000
KEPT = EndpointState(name="app", fingerprint="f", leader=3, version=7)
SICK = replace(KEPT, failing_since=T - 9, held="open", not_before=T + 5, rounds=2)
GONE = replace(KEPT, disabled_at=T, reason="http_410", failing_since=T - 9)
OPEN = Breaker(state=State.OPEN, not_before=T + 5, since=T, failures=6, failing_since=T - 9, rounds=2)
THROTTLED = Breaker(state=State.THROTTLED, not_before=T + NEAR + 1, since=T, rounds=1, firm=True)
PROBING = replace(OPEN, state=State.HALF_OPEN, not_before=T + 120, since=T + 6)

# -- changes


def test_an_endpoint_is_disabled_once() -> None:
    """Whoever comes second has nothing to do, and so nothing to tell."""
    make = endpoint.disabling(T, "http_410", None)
    assert make(SICK) == replace(SICK, disabled_at=T, reason="http_410")
    assert endpoint.disabling(T, "failing", T - 4)(SICK) == replace(
        SICK, disabled_at=T, reason="failing", failing_since=T - 4
    )
    assert make(GONE) is None


def test_operators_hear_once_that_an_endpoint_fails() -> None:
    """Whichever node sees it, and again only after a recovery; a disabled one has an event of its own."""
    told = endpoint.announcing(T - 4)(KEPT)
    assert told == replace(KEPT, reason=endpoint.FAILING, failing_since=T - 4)
    assert endpoint.announcing(T - 4)(SICK) == replace(SICK, reason=endpoint.FAILING)
    assert endpoint.announcing(T - 4)(told) is None
    assert endpoint.announcing(T - 4)(GONE) is None
    assert endpoint.recovering(Breaker())(told) == KEPT
    assert endpoint.disabling(T, "http_410", None)(told) == replace(told, disabled_at=T, reason="http_410")


def test_an_outage_goes_on_while_an_endpoint_answers_429() -> None:
    """Its beginning is kept, though a 429 counts as no failure, and it is not taken for well."""
    limited = Breaker(state=State.OPEN, not_before=T + 5, since=T, refused=30, silent_since=T - 9, rounds=2)
    told = replace(KEPT, failing_since=T - 9, reason=endpoint.FAILING)
    assert endpoint.news(limited, told, shared=False) is News.NONE
    kept = endpoint.failing(limited)(told)
    assert kept is not None
    assert kept.failing_since == T - 9


def test_an_endpoint_is_enabled_once() -> None:
    """Whatever was known of it is forgotten, but for whose it is."""
    assert endpoint.enabling(replace(GONE, held="open", not_before=5, rounds=1)) == KEPT
    assert endpoint.enabling(SICK) is None


def test_an_endpoint_is_forgiven_whatever_it_was() -> None:
    """By hand, also one that is not disabled."""
    assert endpoint.forgiving(SICK) == KEPT
    assert endpoint.forgiving(KEPT) is None


def test_a_failing_endpoint_is_kept_as_its_breaker_says() -> None:
    """A probe that is out is nothing that outlives its node: others may send theirs from when it began."""
    assert endpoint.failing(OPEN)(KEPT) == SICK
    assert endpoint.failing(PROBING)(KEPT) == replace(SICK, not_before=T + 6)
    assert endpoint.failing(THROTTLED)(KEPT) == replace(KEPT, held="throttled", not_before=T + NEAR + 1, rounds=1)
    assert endpoint.failing(OPEN)(GONE) is None


def test_a_recovery_is_somebodys_alone() -> None:
    """Of those who see it, one changes what is kept."""
    assert endpoint.recovering(Breaker())(SICK) == KEPT
    assert endpoint.recovering(Breaker())(KEPT) is None
    assert endpoint.recovering(Breaker())(GONE) is None


# -- news


@pytest.mark.parametrize(
    ("own", "kept", "alone", "shared"),
    [
        (Breaker(), KEPT, News.NONE, News.NONE),
        (Breaker(failures=2, failing_since=T), KEPT, News.NONE, News.NONE),
        (Breaker(), SICK, News.WELL, News.WELL),
        (Breaker(), replace(SICK, failing_since=None), News.NONE, News.SICK),  # opened by 429s alone, and well again
        (Breaker(refused=3), replace(SICK, failing_since=None), News.NONE, News.NONE),
        (replace(THROTTLED, failing_since=None), SICK, News.WELL, News.WELL),
        (OPEN, KEPT, News.SICK, News.SICK),
        (PROBING, KEPT, News.SICK, News.SICK),
        (OPEN, SICK, News.NONE, News.NONE),
        (PROBING, SICK, News.NONE, News.NONE),
        (replace(OPEN, not_before=T + 5 + NEAR), SICK, News.NONE, News.NONE),
        (replace(OPEN, not_before=T + 6 + NEAR), SICK, News.NONE, News.SICK),
        (replace(OPEN, failing_since=None), KEPT, News.NONE, News.SICK),
        (OPEN, replace(SICK, held="throttled", not_before=T + 900), News.NONE, News.SICK),
        (THROTTLED, KEPT, News.NONE, News.SICK),
        (replace(THROTTLED, firm=False), KEPT, News.NONE, News.NONE),
        (THROTTLED, replace(KEPT, held="throttled", not_before=T + 1), News.NONE, News.NONE),
        (THROTTLED, replace(KEPT, held="throttled", not_before=T), News.NONE, News.SICK),
    ],
)
def test_what_is_worth_keeping(own: Breaker, kept: EndpointState, alone: News, shared: News) -> None:
    """An outage and its end; and where others send as well, every time before which nothing may go out."""
    assert endpoint.news(own, kept, shared=False) is alone
    assert endpoint.news(own, kept, shared=True) is shared


# -- heeding


def test_what_another_node_has_disabled_is_disabled() -> None:
    """And enabled what it has enabled."""
    gone = endpoint.adopt(Breaker(failures=2, failing_since=T), GONE, T)
    assert (gone.state, gone.failing_since) == (State.DISABLED, T - 9)
    assert endpoint.adopt(gone, KEPT, T) == Breaker()


def test_what_another_node_met_is_believed() -> None:
    """Held back for as long, and the next cool-down is the longer."""
    breaker = endpoint.adopt(Breaker(), SICK, T)
    assert breaker == replace(OPEN, failures=FEW, firm=True)
    assert not breaker.ready(T + 4)
    assert breaker.ready(T + 5)
    throttled = endpoint.adopt(Breaker(), replace(KEPT, held="throttled", not_before=T + 5), T)
    assert (throttled.state, throttled.failures, throttled.not_before) == (State.THROTTLED, 0, T + 5)
    assert endpoint.adopt(OPEN, KEPT, T) == Breaker()


def test_a_probe_under_way_is_not_forgotten() -> None:
    """Its outcome decides, whatever others meet meanwhile; but for their success."""
    assert endpoint.adopt(PROBING, SICK, T) is PROBING
    assert endpoint.adopt(PROBING, KEPT, T) == Breaker()


# -- leads


@pytest.mark.parametrize("state", State)
def test_one_serves_where_a_rate_or_a_probe_is_concerned(state: State) -> None:
    """Else everyone does."""
    assert endpoint.needs_leader(state, limited=True)
    assert endpoint.needs_leader(state, limited=False) is (state in (State.OPEN, State.HALF_OPEN))


LIMITED = LeaderRequest(fingerprint="f", limited=True)
FREE = LeaderRequest(fingerprint="f", limited=False)


@pytest.mark.parametrize(
    ("kept", "want", "change"),
    [
        (replace(KEPT, leader=None), LIMITED, {"app": 2}),
        (replace(KEPT, leader=9), LIMITED, {"app": 2}),
        (KEPT, LIMITED, {}),
        (replace(KEPT, leader=None), FREE, {}),
        (replace(SICK, leader=None), FREE, {"app": 2}),
        (replace(SICK, leader=None), replace(FREE, fingerprint="other"), {}),
        (replace(SICK, leader=None), replace(LIMITED, fingerprint="other"), {"app": 2}),
        (replace(SICK, leader=None), None, {}),
        (replace(SICK, leader=2), FREE, {}),
        (replace(SICK, leader=2), None, {"app": None}),
        (replace(SICK, leader=2), replace(FREE, fingerprint="other"), {"app": None}),
        (replace(SICK, leader=2), replace(FREE, passing=True), {"app": 3}),
        (replace(KEPT, leader=2), FREE, {}),
    ],
)
def test_a_lead_goes_to_whoever_is_there(
    kept: EndpointState, want: LeaderRequest | None, change: dict[str, int | None]
) -> None:
    """Taken if nobody alive has it, kept while it can be kept, given up where it is of no use."""
    wants = {} if want is None else {"app": want}
    assert endpoint.leads([kept], wants, 2, {1, 2, 3}, {1, 2, 3}) == change


def test_who_leaves_takes_no_lead() -> None:
    """Nor is one passed on to it."""
    assert endpoint.leads([replace(KEPT, leader=None)], {"app": LIMITED}, 2, {1, 2}, {1}) == {}
    passing = {"app": replace(LIMITED, passing=True)}
    assert endpoint.leads([replace(KEPT, leader=2)], passing, 2, {1, 2}, {2}) == {}
    assert endpoint.leads([replace(KEPT, leader=3)], passing, 3, {1, 2, 3}, {1, 2, 3}) == {"app": 1}
