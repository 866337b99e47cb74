"""Which deliveries a mute covers."""

from __future__ import annotations

import pytest

from notifier.core.mute import Mute, covering

ALL = Mute(id="a", created_at=100, until=200)
OPS = Mute(id="b", created_at=100, until=200, endpoint="ops")
TEAM = Mute(id="c", created_at=100, until=200, labels={"team": "video", "env": "test"})
VIDEO = {"team": "video", "env": "test", "more": "x"}


@pytest.mark.parametrize(
    ("mute", "endpoint", "labels", "covered"),
    [
        (ALL, "ops", {}, True),
        (OPS, "ops", VIDEO, True),
        (OPS, "app", VIDEO, False),
        (TEAM, "ops", VIDEO, True),
        (TEAM, "ops", {"team": "video"}, False),
        (TEAM, "ops", {}, False),
    ],
)
def test_by_endpoint_and_labels(mute: Mute, endpoint: str, labels: dict[str, str], covered: bool) -> None:
    """A mute without an endpoint is for all; every label has to be there."""
    assert mute.covers(endpoint, labels, at=150, now=150) == covered
    assert covering([mute], endpoint, labels, at=150, now=150) == (mute if covered else None)


@pytest.mark.parametrize(
    ("at", "now", "covered"),
    [
        (150, 150, True),
        (50, 150, True),  # it was not sent before
        (150, 250, True),  # it could not be sent during the mute
        (50, 250, False),
        (200, 200, False),
        (250, 250, False),
    ],
)
def test_by_time(at: int, now: int, covered: bool) -> None:
    """While it lasts, and for what happened while it lasted."""
    assert ALL.covers("ops", {}, at=at, now=now) == covered
