"""A change waits for others to share a transaction with only where others come, and never for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from notifier.core.rhythm import AIM, FADING, FEWEST, LONGEST, Rhythm


def settled(rate: float, seconds: float = 10 * FADING) -> float:
    """Return the wait after changes have come at a steady rate."""
    rhythm, wait = Rhythm(), 0.0
    for number in range(int(rate * seconds)):
        wait = rhythm.came(number / rate)
    return wait


def test_a_change_that_comes_alone_does_not_wait() -> None:
    """Nor the first ones of many: nobody knows yet that more will come."""
    rhythm = Rhythm()
    assert rhythm.came(5.0) == 0.0
    assert rhythm.came(5.001) == 0.0
    assert settled(FEWEST * 0.8) == 0.0


def test_the_faster_changes_come_the_shorter_they_wait() -> None:
    """So many come in the wait that a transaction has about as many as it is to take."""
    assert settled(30.0) == settled(60.0) == LONGEST
    for rate in (200.0, 400.0, 1_000.0, 2_000.0, 5_000.0):
        assert 0.9 * AIM <= settled(rate) * rate <= 1.1 * AIM


def test_a_burst_is_forgotten() -> None:
    """A second after it, a change does not wait for what no longer comes."""
    rhythm = Rhythm()
    for _ in range(100):
        rhythm.came(1.0)
    assert rhythm.came(1.0) > 0.0
    assert rhythm.came(1.0 + 5 * FADING) == 0.0


@given(st.lists(st.floats(-1e9, 1e9)))
def test_no_clock_makes_a_wait_long(times: list[float]) -> None:
    """Even one that goes back."""
    rhythm = Rhythm()
    assert all(0.0 <= rhythm.came(now) <= LONGEST for now in times)
