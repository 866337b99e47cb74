"""Which refusals come of load."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.core.load import KEEP, LONGEST_QUEUE, LoadRecord, separated

PATIENCE = 1.0


def serve(record: LoadRecord, results: Sequence[bool | None], now: float = 0.0, spacing: float = 0.1) -> float:
    """Record attempts that do not overlap."""
    for accepted in results:
        number = record.begin(now)
        record.end(number, accepted, now + spacing / 2, patience=PATIENCE)
        now += spacing
    return now


def crowd(record: LoadRecord, places: int, attempts: int, rounds: int) -> None:
    """Record rounds of attempts that begin together, of which the endpoint accepts the first."""
    for step in range(rounds):
        numbers = [record.begin(float(step)) for _ in range(attempts)]
        for place, number in enumerate(numbers):
            record.end(number, place < places, step + 0.5, patience=PATIENCE)


def test_nothing_is_known_at_first() -> None:
    """Nor of an endpoint that accepts everything, or nothing, or whose answers say nothing of load."""
    record = LoadRecord()
    assert (record.places(), record.rate()) == (None, None)
    serve(record, [True] * 100)
    assert (record.places(), record.rate()) == (None, None)
    record = LoadRecord()
    serve(record, [False] * 100)
    assert (record.places(), record.rate()) == (None, None)
    record = LoadRecord()
    serve(record, [None] * 100)
    assert record.places() is None


@pytest.mark.parametrize("places", [1, 3, 10])
def test_places_are_counted(places: int) -> None:
    """Attempts that met so many accepted ones in flight were refused, and no others."""
    record = LoadRecord()
    crowd(record, places, 20, 10)
    assert record.places() == places
    record.clear()
    assert record.places() is None


def test_the_load_is_that_of_accepted_attempts() -> None:
    """Refused ones take no place, also while they have not ended."""
    record = LoadRecord()
    slow = [record.begin(0.0) for _ in range(10)]
    crowd(record, 2, 4, 40)
    for number in slow:
        record.end(number, False, 40.0, patience=PATIENCE)
    crowd(record, 2, 4, 40)
    assert record.places() == 2


def test_a_late_success_counts_for_those_after_it() -> None:
    """An attempt that was not waited for ends well after all: the count stays right."""
    record = LoadRecord()
    late = record.begin(0.0)
    crowd(record, 2, 4, 10)
    record.end(late, True, 10.0, patience=PATIENCE)
    record.clear()
    crowd(record, 2, 4, 40)
    assert record.places() == 2


def test_a_rate_is_read_from_gaps() -> None:
    """Ten attempts a second, of which every fifth is accepted: those that come too soon are refused."""
    record = LoadRecord()
    serve(record, [step % 5 == 0 for step in range(100)])
    assert record.places() is None
    assert record.rate() == pytest.approx(2.0)


def test_a_rate_is_read_from_counts() -> None:
    """Four at once are accepted as soon as fewer than four were in the second before."""
    record = LoadRecord()
    now = 0.0
    for _ in range(10):
        now = serve(record, [True] * 4 + [False] * 8, now, spacing=0.01)
        now += 0.9
    rate = record.rate()
    assert rate is not None
    assert 3.5 <= rate <= 5.0


def test_a_rate_needs_some_seconds() -> None:
    """Attempts of a moment tell nothing of a rate."""
    record = LoadRecord()
    serve(record, [step % 5 == 0 for step in range(100)], spacing=0.01)
    assert record.rate() is None


def test_accepted_attempts_are_kept_where_they_are_few() -> None:
    """One in two hundred: refused ones are thinned, so that both span the same time, and memory is bounded."""
    record = LoadRecord()
    serve(record, [step % 200 == 0 for step in range(200 * 40)], spacing=0.005)
    samples = record._samples
    assert len(samples) <= KEEP
    assert sum(sample.accepted for sample in samples) >= 0.1 * len(samples)
    assert record.rate() == pytest.approx(1.0, rel=0.1)


def test_a_hung_attempt_holds_up_no_more_than_a_bounded_queue() -> None:
    """Whatever patience is asked for."""
    record = LoadRecord()
    record.begin(0.0)
    for _ in range(3 * LONGEST_QUEUE):
        number = record.begin(1.0)
        record.end(number, True, 1.0, patience=1e9)
        assert len(record._ended) <= LONGEST_QUEUE
    assert len(record._open) == 1


@pytest.mark.parametrize(
    ("refused", "accepted", "differ"),
    [
        ([9] * 12, [0] * 12, True),
        ([0] * 10, [9] * 10, False),
        ([5] * 10, [5] * 10, False),
        ([9] * 10, [0] * 10, False),
        ([9] * 6, [0] * 250, True),
        ([9] * 5, [0] * 250, False),
        ([], [1], False),
        ([1], [], False),
        (list(range(100)), [load + 20 for load in range(100)], False),
    ],
)
def test_groups_differ_clearly_or_not(refused: list[int], accepted: list[int], differ: bool) -> None:
    """By rank, and by more than chance."""
    assert separated(refused, accepted) is differ


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(min_value=0, max_value=10_000), st.sampled_from([0.05, 0.33, 0.5, 0.9]))
def test_chance_is_not_taken_for_load(seed: int, share: float) -> None:
    """Attempts that overlap at random, and are refused at random."""
    rng = random.Random(seed)
    record = LoadRecord()
    under_way: list[tuple[float, int, bool]] = []
    now = 0.0
    for _ in range(400):
        now += rng.expovariate(50)
        for end, number, accepted in sorted(under_way):
            if end <= now:
                record.end(number, accepted, end, patience=PATIENCE)
        under_way = [attempt for attempt in under_way if attempt[0] > now]
        accepted = rng.random() >= share
        under_way.append((now + rng.uniform(0.05, 0.2), record.begin(now), accepted))
    assert (record.places(), record.rate()) == (None, None)
