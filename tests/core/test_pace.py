"""How fast things may happen: a token bucket that is told the time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.pace import TokenBucket, backoff


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_are_bounded(failures: int, jitter: float) -> None:
    """However often it failed, the wait is finite and at most the ceiling."""
    assert 0 <= backoff(failures, initial=0.5, ceiling=30.0, jitter=jitter) <= 30.0


def test_waits_double_up_to_the_ceiling() -> None:
    """The bound doubles with every failure in a row."""
    bounds = [backoff(failures, initial=0.5, ceiling=30.0, jitter=1.0) for failures in range(1, 9)]
    assert bounds == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_burst_then_the_rate() -> None:
    """A full bucket lets `burst` through at once, then one each 1/rate seconds."""
    bucket = TokenBucket(rate=4, burst=3)
    for _ in range(3):
        assert bucket.wait(10.0) == 0.0
        bucket.take()
    assert bucket.wait(10.0) == 0.25
    assert bucket.wait(10.125) == 0.125
    assert bucket.wait(10.25) == 0.0


def test_asking_costs_nothing() -> None:
    """Only `take` counts."""
    bucket = TokenBucket(rate=1)
    assert [bucket.wait(5.0) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_idle_time_earns_a_burst_and_no_more() -> None:
    """An hour of silence is not followed by an hour's worth of messages."""
    bucket = TokenBucket(rate=1, burst=2)
    bucket.wait(0.0)
    assert bucket.wait(3600.0) == 0.0
    bucket.take()
    bucket.take()
    assert bucket.wait(3600.0) == 1.0


def test_a_clock_that_went_back_earns_nothing_and_costs_nothing() -> None:
    """The bucket goes on from the time that it is told."""
    bucket = TokenBucket(rate=1)
    assert bucket.wait(100.0) == 0.0
    bucket.take()
    assert bucket.wait(50.0) == 1.0
    assert bucket.wait(51.0) == 0.0


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.5), (1.0, 0.0)])
def test_a_bucket_that_nothing_could_ever_pass_is_refused(rate: float, burst: float) -> None:
    """It would wait forever, or divide by nothing."""
    with pytest.raises(ValueError, match="rate has to be positive"):
        TokenBucket(rate, burst)


@given(st.floats(0.001, 10_000), st.integers(1, 20), st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_no_window_holds_more_than_burst_and_rate_allow(rate: float, burst: int, gaps: list[float]) -> None:
    """In any span of t seconds at most burst + rate * t things happen, however the asking is spread."""
    bucket, now, taken = TokenBucket(rate, float(burst)), 0.0, []
    for gap in gaps:
        now += gap
        if bucket.wait(now) == 0.0:
            bucket.take()
            taken.append(now)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + rate * (taken[last] - taken[first]) * (1 + 1e-6) + 1e-3


@given(st.floats(0.001, 10_000), st.floats(0, 1e6))
def test_after_the_wait_it_is_time(rate: float, start: float) -> None:
    """Whoever waits as long as told need not wait again, but for what rounding of the clock costs."""
    bucket = TokenBucket(rate)
    bucket.wait(start)
    bucket.take()
    assert bucket.wait(start + bucket.wait(start)) <= 1e-9 * max(start, 1.0) + 1e-9


def test_a_drained_bucket_begins_as_if_something_had_just_happened() -> None:
    """Whatever it had saved up."""
    bucket = TokenBucket(2.0, burst=3)
    assert bucket.wait(10.0) == 0.0
    bucket.drain(20.0)
    assert bucket.wait(20.0) == pytest.approx(0.5)
    assert bucket.wait(20.5) == 0.0
