"""When to connect again, and when to give up (DESIGN.md section 5, connection policy)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.errors import NoContent, Refused, SourceError, TaskNotFound, Unavailable, Unreadable
from notifier.core.model import LostReason
from notifier.core.reconnect import (
    EARLY_ENDS,
    LAST_LOOK,
    MAX_HINT,
    WELL,
    Ending,
    GiveUp,
    Health,
    ReconnectPolicy,
    Wait,
    after,
    after_deadline,
    ended_early_again,
)

SECOND = 1_000_000
T0 = 1_700_000_000 * SECOND
POLICY = ReconnectPolicy(backoff_initial=1.0, backoff_max=60.0, not_found_grace=60.0, give_up_after=3600.0)
BROKEN = SourceError("connection reset")
ALMOST_ONE = math.nextafter(1.0, 0.0)
TROUBLES = [  # an ending that may not pass by itself, what it is called, how long it is borne with
    (TaskNotFound("404"), LostReason.NOT_FOUND, POLICY.not_found_grace),
    (Refused("401"), LostReason.REFUSED, POLICY.give_up_after),
    (Unreadable("no state"), LostReason.UNREADABLE, POLICY.give_up_after),
]
ENDINGS = st.sampled_from(
    [None, NoContent(), TaskNotFound(), Refused(), Unreadable(), BROKEN, Unavailable(), Unavailable(retry_after=7.0)]
)
HINTS = st.none() | st.floats()


def decide(
    ending: SourceError | None,
    health: Health = WELL,
    *,
    observed: bool = False,
    news: bool = False,
    lasted: float = 0.0,
    hint: float | None = None,
    now: int = T0,
    jitter: float = ALMOST_ONE,
    policy: ReconnectPolicy = POLICY,
) -> Wait | GiveUp:
    how = Ending(error=ending, opened=observed, observed=observed or news, news=news, lasted=lasted, hint=hint)
    return after(how, health, policy, now=now, jitter=jitter)


def wait(ending: SourceError | None, health: Health = WELL, **how: Any) -> Wait:
    decision = decide(ending, health, **how)
    assert isinstance(decision, Wait)
    return decision


def ceilings(ending: SourceError | None, count: int, **how: Any) -> list[float]:
    """Return the longest possible waits after 1, 2, 3 ... failures in a row."""
    health, found = WELL, []
    for _ in range(count):
        decision = wait(ending, health, **how)
        health = decision.health
        found.append(round(decision.delay, 6))
    return found


@pytest.mark.parametrize("ending", [BROKEN, Unavailable("503", status=503), None])
def test_waits_double_up_to_the_maximum(ending: SourceError | None) -> None:
    """Without an observation each failure doubles the bound; an orderly end that brought nothing is one too."""
    assert ceilings(ending, 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize("ending", [BROKEN, Unavailable("503", status=503)])
def test_jitter_is_full(ending: SourceError) -> None:
    """A wait is anywhere between nothing and its bound: what was dropped together does not return together."""
    tired = Health(attempts=5)
    assert wait(ending, tired, jitter=0.0).delay == 0.0
    assert wait(ending, tired, jitter=0.5).delay == 16.0


@pytest.mark.parametrize("ending", [BROKEN, Unavailable("503", status=503)])
def test_backoff_starts_afresh_after_a_change(ending: SourceError) -> None:
    """A change is proof of health; a handshake is not, or a peer that drops at once would be called forever."""
    tired = Health(attempts=8, failures=8, trouble=LostReason.NOT_FOUND, since=T0)
    fresh = wait(ending, tired, news=True)
    assert fresh.health == Health(attempts=1, failures=1, error=str(ending))
    assert fresh.delay <= POLICY.backoff_initial
    assert wait(ending, tired).health.failures == 9


@pytest.mark.parametrize("ending", [None, BROKEN, Unreadable("too long")])
def test_a_repeat_is_no_proof_of_health(ending: SourceError | None) -> None:
    """The same snapshot on each connection: the pauses grow, whatever ends them; a stream that lasted ends that."""
    assert ceilings(ending, 9, observed=True) == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert ceilings(ending, 3, observed=True, lasted=POLICY.backoff_max) == [1, 1, 1]
    assert ceilings(ending, 3, news=True) == [1, 1, 1]


def test_a_repeat_is_no_failure() -> None:
    """Nothing is wrong with an upstream that ends its streams in order; an error behind a repeat is."""
    health = Health(failures=3, trouble=LostReason.REFUSED, since=T0, error="401")
    assert wait(None, health, observed=True).health == Health(attempts=1)
    assert wait(BROKEN, health, observed=True).health == Health(attempts=1, failures=4, error=str(BROKEN))


def test_a_fault_behind_the_same_snapshot_ends_by_patience() -> None:
    """An event over the bound comes on every connection, after a snapshot that can be read."""
    health = wait(Unreadable("too long"), observed=True, now=T0).health
    later = T0 + round(POLICY.give_up_after * SECOND)
    assert isinstance(decide(Unreadable("too long"), health, observed=True, now=later), GiveUp)
    assert isinstance(decide(Unreadable("too long"), health, news=True, now=later), Wait)


def test_an_orderly_end_after_a_snapshot_is_followed_soon_but_never_at_once() -> None:
    """A stream that was cut after a while says nothing bad of the upstream; between half and all of the first wait."""
    assert wait(None, Health(attempts=9), news=True, jitter=0.0).delay == POLICY.backoff_initial / 2
    assert wait(None, observed=True, jitter=0.0).delay == POLICY.backoff_initial / 2


def test_no_content_is_asked_again_slowly() -> None:
    """204 ends an event stream by specification: at once it would be the same."""
    assert wait(NoContent(), jitter=0.0).delay == POLICY.backoff_max / 2
    assert wait(NoContent(), Health(attempts=50)).delay <= POLICY.backoff_max


@pytest.mark.parametrize("ending", [None, NoContent(), BROKEN, Unavailable()])
@pytest.mark.parametrize("observed", [True, False])
def test_the_streams_retry_is_honoured_within_reason(ending: SourceError | None, observed: bool) -> None:
    """`retry:` lengthens a wait, never shortens it, and beyond an hour is an hour."""
    plain = wait(ending, observed=observed).delay
    assert wait(ending, observed=observed, hint=90.0).delay == 90.0
    assert wait(ending, observed=observed, hint=1e9).delay == MAX_HINT
    for no_help in (0.0, -5.0, 0.001, float("nan"), float("-inf")):
        assert wait(ending, observed=observed, hint=no_help).delay == plain


def test_retry_after_is_honoured_within_reason() -> None:
    """As `retry:` is; the longer of both counts."""
    assert wait(Unavailable(retry_after=120.0)).delay == 120.0
    assert wait(Unavailable(retry_after=120.0), hint=240.0).delay == 240.0
    assert wait(Unavailable(retry_after=1e12)).delay == MAX_HINT
    assert wait(Unavailable(retry_after=-3.0), jitter=0.5).delay == 0.5


def test_a_peer_that_answers_and_drops_is_not_called_in_a_busy_loop() -> None:
    """`retry: 0` after each change: the waits add up all the same, whatever chance says."""
    assert sum(wait(None, news=True, hint=0.0, jitter=n / 100).delay for n in range(100)) > 50
    assert sum(wait(BROKEN, news=True, hint=0.0, jitter=n / 100).delay for n in range(100)) > 49


@pytest.mark.parametrize(("ending", "reason", "patience"), TROUBLES)
def test_a_trouble_is_borne_with_for_a_while(ending: SourceError, reason: LostReason, patience: float) -> None:
    """It may pass: a task that was just made is not found yet. The last try comes when patience ends, not before."""
    health = wait(ending, now=T0).health
    assert (health.trouble, health.since) == (reason, T0)
    just_before = T0 + round(patience * SECOND) - 1000
    last = wait(ending, health, now=just_before)
    assert last.delay == pytest.approx(0.001)
    over = decide(ending, last.health, now=T0 + round(patience * SECOND))
    assert over == GiveUp(reason=reason, detail=str(ending))


@pytest.mark.parametrize(("ending", "reason", "patience"), TROUBLES)
def test_a_change_ends_a_trouble(ending: SourceError, reason: LostReason, patience: float) -> None:
    """Patience starts anew after proof of health."""
    health = wait(ending, now=T0).health
    much_later = T0 + round(10 * patience * SECOND)
    fresh = wait(ending, health, news=True, now=much_later).health
    assert (fresh.trouble, fresh.since, fresh.failures) == (reason, much_later, 1)


def test_another_trouble_starts_its_own_patience() -> None:
    """Being refused is not being unknown."""
    unknown = wait(TaskNotFound(), now=T0).health
    refused = wait(Refused(), unknown, now=T0 + 3_000 * SECOND).health
    assert (refused.trouble, refused.since) == (LostReason.REFUSED, T0 + 3_000 * SECOND)


def test_an_outage_in_between_does_not_end_a_trouble() -> None:
    """Only a snapshot does: a connection that failed proves nothing."""
    known = wait(None, wait(TaskNotFound()).health, observed=True).health
    assert known.trouble is None
    unknown = wait(TaskNotFound(), now=T0).health
    away = wait(Unavailable(), unknown, now=T0 + 30 * SECOND).health
    assert (away.trouble, away.since) == (LostReason.NOT_FOUND, T0)
    assert isinstance(decide(TaskNotFound(), away, now=T0 + 60 * SECOND), GiveUp)


def test_refusals_are_tried_again_slowly() -> None:
    """Wrong credentials are not right a second later, and hammering them may get the account locked."""
    assert wait(Refused(), jitter=0.0).delay == POLICY.backoff_max / 2


def test_no_patience_gives_up_at_once() -> None:
    """A grace of 0 means none."""
    policy = replace(POLICY, not_found_grace=0.0)
    assert isinstance(decide(TaskNotFound("gone"), policy=policy), GiveUp)


def test_a_clock_that_went_back_prolongs_patience_and_breaks_nothing() -> None:
    """The wait stays within its bound."""
    health = wait(TaskNotFound(), now=T0).health
    assert wait(TaskNotFound(), health, now=T0 - 7200 * SECOND).delay <= POLICY.backoff_max


@given(ENDINGS, st.booleans(), st.booleans(), HINTS, st.floats(0, 1, exclude_max=True), st.integers(0, 10_000))
def test_a_wait_is_finite_and_bounded_at_any_number_of_failures(
    ending: SourceError | None, observed: bool, news: bool, hint: float | None, jitter: float, failures: int
) -> None:
    """0 <= delay <= the larger of backoff_max and an hour's hint; without a hint, backoff_max."""
    health = Health(attempts=failures, failures=failures)
    told = max(0.0, min(hint, MAX_HINT)) if hint is not None and not math.isnan(hint) else 0.0
    if isinstance(ending, Unavailable):
        told = max(told, ending.retry_after or 0.0)
    decision = wait(ending, health, observed=observed, news=news, hint=hint, jitter=jitter)
    assert math.isfinite(decision.delay)
    assert 0 <= decision.delay <= max(POLICY.backoff_max, told)
    assert decision.health.attempts == (1 if news else failures + 1)


@given(
    st.lists(st.tuples(ENDINGS, st.booleans()), min_size=50, max_size=100),
    st.floats(0.01, 1, exclude_max=True),
)
def test_no_sequence_of_endings_makes_a_busy_loop(
    endings: list[tuple[SourceError | None, bool]], jitter: float
) -> None:
    """Whatever a peer does, and though it asks for `retry: 0`: each call waits its share of the first wait."""
    health, now = WELL, T0
    for ending, observed in endings:
        decision = decide(ending, health, observed=observed, hint=0.0, now=now, jitter=jitter)
        if isinstance(decision, GiveUp):
            return
        left = POLICY.not_found_grace - (now - decision.health.since) / 1e6
        assert decision.delay >= min(POLICY.backoff_initial * jitter, max(left, 0.0))
        health, now = decision.health, now + round(decision.delay * 1e6)


@pytest.mark.parametrize("deadline", [0.5, 60.0, 86_400.0, 1e9])
def test_past_the_deadline_an_upstream_that_cannot_be_reached_is_asked_for_a_while(deadline: float) -> None:
    """For a tenth of the deadline, at least five seconds and at most `give_up_after`; the last try ends the wait."""
    longest = max(LAST_LOOK, min(deadline / 10, POLICY.give_up_after))
    otherwise = Wait(delay=50.0, health=WELL)

    def decide(asking: float, *, looked: bool = False) -> Wait | GiveUp:
        return after_deadline(otherwise, POLICY, deadline=deadline, looked=looked, asking=asking)

    assert decide(0.0) == Wait(delay=min(50.0, longest), health=WELL)
    assert decide(longest - 1.0) == Wait(delay=1.0, health=WELL)
    lost = GiveUp(reason=LostReason.DEADLINE, detail=f"no terminal state within {deadline:g} s")
    assert decide(longest) == decide(0.0, looked=True) == lost


def test_a_loss_at_the_deadline_tells_what_went_wrong_at_last() -> None:
    otherwise = decide(Unavailable("the upstream answers 500: overloaded"))
    lost = after_deadline(otherwise, POLICY, deadline=60.0, looked=True, asking=0.0)
    assert lost == GiveUp(
        reason=LostReason.DEADLINE,
        detail="no terminal state within 60 s; at last: the upstream answers 500: overloaded",
    )


def test_past_the_deadline_another_reason_to_give_up_stays() -> None:
    """A task that the upstream does not know is lost for that, not for its age."""
    unknown = GiveUp(reason=LostReason.NOT_FOUND, detail="the upstream answers 404")
    assert after_deadline(unknown, POLICY, deadline=1.0, looked=True, asking=0.0) == unknown


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        (Ending(error=None, observed=True), None),
        (Ending(error=BROKEN), "connection reset"),
        (Ending(error=BROKEN, unread=Unreadable("no state", excerpt="{}"), opened=True), "no state; it sent {}"),
        (Ending(error=BROKEN, unread=Unreadable("no state"), opened=True, observed=True), "connection reset"),
        (Ending(error=None, unread=Unreadable("no state"), opened=True, observed=True), "no state"),
        (Ending(error=Unreadable("no JSON", excerpt="<html>")), "no JSON; it sent <html>"),
    ],
)
def test_what_ails_a_connection_is_remembered_in_words(ending: Ending, told: str | None) -> None:
    """Where nothing could be read, that is what is told, and not the silence that followed."""
    decision = after(ending, WELL, POLICY, now=T0, jitter=0.5)
    assert isinstance(decision, Wait)
    assert decision.health.error == told


@pytest.mark.parametrize("news", [False, True])
@pytest.mark.parametrize("lasted", [0.5, POLICY.backoff_max])
def test_a_stream_that_ends_with_what_cannot_be_read_is_borne_with_like_a_reply(lasted: float, news: bool) -> None:
    """The task's end may stand there, behind the same good snapshot on each connection.

    A change, or a stream that lasted, shows that the rest can be read.
    """
    health, now = WELL, T0
    ending = Ending(opened=True, observed=True, news=news, unread=Unreadable("the snapshot is not JSON"), lasted=lasted)
    tries = 0
    while isinstance(decision := after(ending, health, POLICY, now=now, jitter=0.5), Wait):
        health, now, tries = decision.health, now + round(decision.delay * SECOND), tries + 1
        if now - T0 > 2 * POLICY.give_up_after * SECOND:
            assert news or lasted == POLICY.backoff_max
            return
    assert decision == GiveUp(reason=LostReason.UNREADABLE, detail="the snapshot is not JSON")
    assert not news
    assert lasted == 0.5
    assert now - T0 == POLICY.give_up_after * SECOND
    assert tries < 200  # the pauses grow


EARLY = Ending(opened=True, observed=True, lasted=POLICY.backoff_max - 1.0)


@pytest.mark.parametrize(
    ("ending", "before", "found"),
    [
        (EARLY, EARLY_ENDS - 1, True),
        (EARLY, EARLY_ENDS, True),
        (EARLY, EARLY_ENDS - 2, False),
        (replace(EARLY, news=True), EARLY_ENDS, False),
        (replace(EARLY, lasted=POLICY.backoff_max), EARLY_ENDS, False),
        (Ending(error=BROKEN), EARLY_ENDS, False),
        (Ending(error=Unavailable(status=503)), EARLY_ENDS, False),
        (Ending(error=Unavailable(status=200)), EARLY_ENDS - 1, True),
        (Ending(error=Unreadable(status=203)), EARLY_ENDS - 2, False),
    ],
    ids=["again", "and again", "not often", "with news", "late", "never open", "in trouble", "a page", "another"],
)
def test_streams_that_end_early_are_counted(ending: Ending, before: int, found: bool) -> None:
    """In a row, this one included: they were opened, or were pages, brought no change, and did not last."""
    assert ended_early_again(ending, Health(attempts=before), POLICY) is found
