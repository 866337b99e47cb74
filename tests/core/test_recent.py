"""What is told of the last minute."""

from __future__ import annotations

import pytest

from notifier.core.recent import KINDS, OTHER, SLOT, SLOTS, RecentAnswers, Shares, together


def test_shares_count_by_reason() -> None:
    """The most frequent reason is told; of several, always the same."""
    recent = RecentAnswers()
    assert recent.shares(0.0) == Shares(accepted=0, refused=0, reason=None, seconds=SLOT)
    assert recent.shares(0.0).share == 0.0
    for step in range(88):
        recent.accepted(step / 10)
    for step in range(8):
        recent.refused("http_503", step)
    for step in range(4):
        recent.refused("timeout", step)
    shares = recent.shares(9.0)
    assert shares == Shares(accepted=88, refused=12, reason="http_503", seconds=9.0)
    assert shares.share == 0.12
    for _ in range(4):
        recent.refused("timeout", 9.0)
    assert recent.shares(9.0).reason == "http_503"


def test_goodput_is_of_the_time_that_was_counted() -> None:
    """Of a minute at most, and of a slot at least."""
    recent = RecentAnswers()
    recent.accepted(100.0)
    assert recent.shares(100.0).goodput == 1 / SLOT
    for _ in range(59):
        recent.accepted(120.0)
    assert recent.shares(120.0).goodput == 3.0
    assert recent.shares(155.0).goodput == 60 / 55
    assert recent.shares(1000.0).goodput == 0.0


@pytest.mark.parametrize(
    ("accepted", "refused", "chance"), [(15, 5, 0.25), (14, 5, 0.0), (5, 15, 0.75), (4, 36, 0.0), (20, 0, 0.0)]
)
def test_the_share_by_chance_is_of_attempts_enough(accepted: int, refused: int, chance: float) -> None:
    """Of an endpoint that accepts something; else a refusal says nothing about the next one."""
    assert Shares(accepted=accepted, refused=refused, reason="x").by_chance == chance


def test_nodes_are_counted_together() -> None:
    """With the reason of the one that met most refusals."""
    one = Shares(accepted=50, refused=2, reason="timeout", seconds=60.0)
    two = Shares(accepted=38, refused=10, reason="http_503", seconds=30.0)
    assert together([one, two]) == Shares(accepted=88, refused=12, reason="http_503", seconds=60.0)
    assert together([]) == Shares(accepted=0, refused=0, reason=None)


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    """Slot by slot, also when nothing new comes."""
    recent = RecentAnswers()
    for slot in range(3 * SLOTS):
        recent.accepted(slot * SLOT)
    end = 3 * SLOTS * SLOT
    assert recent.shares(end - SLOT).accepted == SLOTS
    assert recent.shares(end + 5 * SLOT).accepted == SLOTS - 6
    assert recent.shares(end + 100 * SLOT).accepted == 0
    recent.clear()
    assert recent.shares(end).accepted == 0


def test_a_clock_that_goes_back_counts_in_the_newest_slot() -> None:
    """Nothing is lost, and nothing grows."""
    recent = RecentAnswers()
    recent.accepted(100.0)
    recent.accepted(10.0)
    assert recent.shares(100.0).accepted == 2


def test_kinds_of_refusals_are_bounded() -> None:
    """An endpoint that invents statuses costs no memory."""
    recent = RecentAnswers()
    for status in range(400, 600):
        recent.refused(f"http_{status}", 0.0)
    shares = recent.shares(0.0)
    assert (shares.refused, shares.reason) == (200, OTHER)
    assert len(recent._slots[0].refused) == KINDS + 1
