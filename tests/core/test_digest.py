"""When the interval of a digest ends, and what stands for its events."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.digest import boundary, together
from notifier.core.model import Delivery

ONE = Delivery(
    id=5, endpoint="ops", event_id="msg_5", event_type="task.failed", body=b'{"a":1}', lane=7, observed_at=50, attempt=2
)


@pytest.mark.parametrize(("now", "end"), [(0, 600_000_000), (599_999_999, 600_000_000), (600_000_000, 1_200_000_000)])
def test_intervals_begin_at_whole_multiples(now: int, end: int) -> None:
    assert boundary(now, 600.0) == end


@given(st.integers(min_value=0, max_value=2**60), st.floats(min_value=0, max_value=1e8))
def test_the_end_is_ahead(now: int, interval: float) -> None:
    """By no more than the interval."""
    assert now < boundary(now, interval) <= now + max(1, round(interval * 1e6))


def test_one_delivery_stands_for_several() -> None:
    """It holds their events, is of no watch, and is as old as the oldest."""
    made = together(-1, [ONE, replace(ONE, id=6, body=b'{"b":2}', observed_at=40, attempt=0)])
    assert json.loads(made.body) == {"type": "notifier.digest", "data": {"events": [{"a": 1}, {"b": 2}]}}
    assert (made.id, made.lane, made.observed_at, made.attempt, made.endpoint) == (-1, None, 40, 0, "ops")
