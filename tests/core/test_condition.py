"""In which words an endpoint's state is told."""

from __future__ import annotations

import pytest

from notifier.core.breaker import Breaker, State
from notifier.core.condition import SLOWED_COUNT, Condition, condition, describe, explain, word
from notifier.core.recent import Shares

NOW = 1_767_225_600_000_000  # microseconds


@pytest.mark.parametrize(
    ("breaker", "shares", "expected"),
    [
        (Breaker(), Shares(accepted=0, refused=0, reason=None), Condition.OK),
        (Breaker(), Shares(accepted=99, refused=1, reason="timeout"), Condition.OK),
        (Breaker(), Shares(accepted=0, refused=SLOWED_COUNT - 1, reason="timeout"), Condition.OK),
        (Breaker(), Shares(accepted=0, refused=SLOWED_COUNT, reason="timeout"), Condition.SLOWED),
        (Breaker(), Shares(accepted=297, refused=3, reason="timeout"), Condition.SLOWED),
        (Breaker(), Shares(accepted=998, refused=3, reason="timeout"), Condition.OK),
        (Breaker(state=State.THROTTLED, not_before=NOW + 1), Shares(accepted=0, refused=9, reason="x"), "paused"),
        (Breaker(state=State.THROTTLED, not_before=NOW), Shares(accepted=0, refused=9, reason="x"), "slowed"),
        (Breaker(state=State.OPEN), Shares(accepted=1, refused=0, reason=None), Condition.FAILING),
        (Breaker(state=State.HALF_OPEN), Shares(accepted=1, refused=0, reason=None), Condition.FAILING),
        (Breaker(state=State.DISABLED), Shares(accepted=1, refused=0, reason=None), Condition.DISABLED),
    ],
)
def test_a_state_has_one_word(breaker: Breaker, shares: Shares, expected: str) -> None:
    """In the API, the commands, the page and the metric."""
    assert condition(breaker, shares, NOW) == expected


@pytest.mark.parametrize(
    ("breaker", "refused", "reason"),
    [
        (Breaker(), 2, None),
        (Breaker(), 12, "12 % of attempts are answered 503"),
        (Breaker(state=State.OPEN), 12, "12 % of attempts are answered 503"),
        (Breaker(state=State.OPEN), 0, None),
        (Breaker(state=State.THROTTLED, not_before=NOW + 1_500_000), 12, "nothing is sent for 2 s"),
        (Breaker(state=State.THROTTLED, not_before=NOW + 1), 12, "nothing is sent for 1 s"),
        (Breaker(state=State.DISABLED), 12, None),
    ],
)
def test_a_state_has_its_reason(breaker: Breaker, refused: int, reason: str | None) -> None:
    """Beside the word; that of a disabled one is kept with it."""
    shares = Shares(accepted=100 - refused, refused=refused, reason="http_503" if refused else None)
    assert explain(breaker, shares, NOW) == reason


@pytest.mark.parametrize("state", State)
def test_a_breakers_state_has_a_word(state: State) -> None:
    """The one that it has without any refusals besides."""
    blank = Shares(accepted=0, refused=0, reason=None)
    assert word(state) is condition(Breaker(state=state, not_before=NOW + 1), blank, NOW)


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        (Shares(accepted=88, refused=12, reason="http_503"), "12 % of attempts are answered 503"),
        (Shares(accepted=993, refused=7, reason="http_429"), "0.7 % of attempts are answered 429"),
        (Shares(accepted=0, refused=7, reason="timeout"), "100 % of attempts time out"),
        (Shares(accepted=1, refused=1, reason="proxy"), "50 % of attempts fail as proxy"),
    ],
)
def test_a_slowed_endpoint_is_described(shares: Shares, text: str) -> None:
    """By its share and the most frequent reason."""
    assert describe(shares) == text
