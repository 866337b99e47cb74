"""Counts of rows are as fresh as they are cheap, and of several nodes one counts for all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from notifier.cluster import row_counts as module
from notifier.cluster.row_counts import FRESH, STALE, RowCounts
from notifier.core.errors import StoreUnavailable
from notifier.store import Lists

SECOND = 1_000_000


class Counting(Lists):
    """Lists that count as a test says."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    async def summary(self, *, lost_since: int = 0) -> Any:
        self._rig.lost_since = lost_since
        return await self._rig.summary()


class Rig:
    """A clock, a store that takes its time, and another node."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000 * SECOND
        self.takes = 0.0  # seconds
        self.counted = 0
        self.fails = False
        self.lost_since = 0
        self.told: list[Mapping[str, Any]] = []  # the nodes' statuses
        monkeypatch.setattr(module, "time", self)
        self.row_counts = RowCounts(Counting(self), clock=lambda: self.now)

    def monotonic(self) -> float:
        return self.now / SECOND

    async def counts(self) -> Any:
        return await self.row_counts.counts(self.told)

    def later(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)

    async def summary(self) -> Any:
        await asyncio.sleep(0)
        self.later(self.takes)
        if self.fails:
            raise StoreUnavailable
        self.counted += 1
        return {"count": self.counted}


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


async def test_a_count_serves_for_a_while(rig: Rig) -> None:
    """A cheap count is used for two seconds, then the rows are counted again."""
    assert await rig.counts() == {"count": 1}
    rig.later(FRESH - 0.1)
    assert await rig.counts() == {"count": 1}
    rig.later(0.2)
    assert await rig.counts() == {"count": 2}


async def test_what_is_dear_is_counted_seldom(rig: Rig) -> None:
    """A twentieth of the time at most, but for what takes several seconds: once a minute."""
    for takes, good in ((0.05, FRESH), (0.5, 10.0), (30.0, STALE)):
        rig.later(1000)
        rig.takes = takes
        before = await rig.counts()
        rig.later(good - takes - 0.2)
        assert await rig.counts() == before
        rig.later(0.4)
        assert await rig.counts() != before


async def test_who_asks_at_the_same_time_is_answered_by_one_count(rig: Rig) -> None:
    """All callers get the same count."""
    assert await asyncio.gather(*(rig.counts() for _ in range(5))) == [{"count": 1}] * 5


async def test_another_node_s_count_serves_as_well(rig: Rig) -> None:
    """As long as it is good; one of another version may count otherwise, one from the future is wrong."""
    other = Rig(pytest.MonkeyPatch())
    other.takes, other.now = 1.0, rig.now - 5 * SECOND
    assert other.row_counts.shared is None
    other.counted = 41
    await other.counts()
    shared = other.row_counts.shared
    assert shared is not None
    rig.told = [{}, {"counted": shared | {"by": "0.0.1"}}, {"counted": shared | {"at": rig.now + SECOND}}]
    assert await rig.counts() == {"count": 1}
    rig.later(FRESH + 1)
    rig.told.append({"counted": shared})
    assert await rig.counts() == {"count": 42}
    assert rig.row_counts.shared is None  # its own was cheap


async def test_a_count_that_fails_is_nobody_s(rig: Rig) -> None:
    """The next caller counts again."""
    rig.fails = True
    with pytest.raises(StoreUnavailable):
        await rig.counts()
    rig.fails = False
    assert await rig.counts() == {"count": 1}


async def test_after_a_change_at_one_go_no_earlier_count_is_used(rig: Rig) -> None:
    """Neither this node's, nor another one's; a later one of another node is."""
    other = Rig(pytest.MonkeyPatch())
    other.takes, other.counted, other.now = 1.0, 41, rig.now - 2 * SECOND
    await other.counts()
    assert other.row_counts.shared is not None
    rig.told.append({"counted": other.row_counts.shared})
    assert await rig.counts() == {"count": 42}
    assert await rig.row_counts.anew() == {"count": 1}
    assert await rig.counts() == {"count": 1}
    rig.later(FRESH + 0.1)
    assert await rig.counts() == {"count": 2}
    rig.later(FRESH + 0.1)
    rig.told.append({"counted": other.row_counts.shared | {"at": rig.now}})
    assert await rig.counts() == {"count": 42}


async def test_a_count_anew_that_fails_leaves_none(rig: Rig) -> None:
    """The next caller counts: what was counted before is over."""
    await rig.counts()
    rig.fails = True
    with pytest.raises(StoreUnavailable):
        await rig.row_counts.anew()
    rig.fails = False
    assert await rig.counts() == {"count": 2}
