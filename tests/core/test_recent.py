"""What is told of the last minute."""

from __future__ import annotations

from notifier.core.recent import KINDS, OTHER, SLOT, SLOTS, Recent, Shares


def test_shares_count_by_reason() -> None:
    """The most frequent reason is told; of several, always the same."""
    recent = Recent()
    assert recent.shares(0.0) == Shares(accepted=0, refused=0, reason=None)
    assert recent.shares(0.0).share == 0.0
    for step in range(88):
        recent.accepted(step / 10)
    for step in range(8):
        recent.refused("http_503", step)
    for step in range(4):
        recent.refused("timeout", step)
    shares = recent.shares(9.0)
    assert shares == Shares(accepted=88, refused=12, reason="http_503")
    assert shares.share == 0.12
    for _ in range(4):
        recent.refused("timeout", 9.0)
    assert recent.shares(9.0).reason == "http_503"


def test_what_is_older_than_a_minute_is_forgotten() -> None:
    """Slot by slot, also when nothing new comes."""
    recent = Recent()
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
    recent = Recent()
    recent.accepted(100.0)
    recent.accepted(10.0)
    assert recent.shares(100.0).accepted == 2


def test_kinds_of_refusals_are_bounded() -> None:
    """An endpoint that invents statuses costs no memory."""
    recent = Recent()
    for status in range(400, 600):
        recent.refused(f"http_{status}", 0.0)
    shares = recent.shares(0.0)
    assert (shares.refused, shares.reason) == (200, OTHER)
    assert len(recent._slots[0].refused) == KINDS + 1
