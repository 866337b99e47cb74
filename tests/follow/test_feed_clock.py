"""A clock that is set while watches are followed: deadlines, stalls and durations stay as they were; dates follow."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import pytest
from parts import data, following, quick, states, transcript
from waits import until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator

DAY = 86_400.0
STILL = transcript("queueing")


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set this machine's clock forward; negative: back."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + round(seconds * 1e9))


@pytest.mark.parametrize("leaps", [[2 * DAY], [-2 * DAY], [2 * DAY, -2 * DAY], [400 * DAY, -3 * DAY]])
async def test_a_leap_ends_no_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaps: list[float]) -> None:
    """Neither its deadline nor a stall has come; the end is told, with the time that it took and today's date."""
    async with Simulator(transcript=STILL) as sim, Listener() as listener:
        policy = quick(deadline=DAY, stall_after=DAY / 2)
        async with following(tmp_path, sim, listener, policy) as (rig, feed):
            await rig.want("1", "2")
            await listener.wait(2)
            for number, leap in enumerate(leaps):
                set_clock(monkeypatch, leap)
                feed.update(quick(deadline=DAY - number, stall_after=DAY / 2), reopen=True, hurry=True)
                await sim.wait_connects(2 * (number + 2))
            sim.push("1", "success")
            sim.push("2", "success")
            callbacks = await listener.wait(4)
            assert states(callbacks, "1") == states(callbacks, "2") == ["queueing", "success"]
            for callback in callbacks[2:]:
                assert data(callback)["watched_seconds"] < DAY / 4
                date = datetime.fromisoformat(str(callback.timestamp)).timestamp()
                assert abs(date - time.time_ns() / 1e9) < DAY / 4
            await until(lambda: len(feed) == 0)


async def test_a_deadline_comes_after_a_leap_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as it would have come without."""
    async with (
        Simulator(transcript=STILL) as sim,
        Listener() as listener,
        following(tmp_path, sim, listener, quick(deadline=1.0)) as (rig, _),
    ):
        await rig.want("1")
        await listener.wait(1)
        set_clock(monkeypatch, -400 * DAY)
        callbacks = await listener.wait(2)
        assert (callbacks[1].type, data(callbacks[1])["reason"]) == ("watch.lost", "deadline")


async def test_a_leap_uses_up_no_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream that refuses is given up after `give_up_after`, whatever the clock shows."""
    async with Simulator(transcript=STILL) as sim, Listener() as listener:
        sim.fault("1", "401")
        async with following(tmp_path, sim, listener, quick(give_up_after=DAY / 2, deadline=DAY)) as (rig, feed):
            await rig.want("1")
            await sim.wait_for(lambda sim: sim.outcomes["401"] >= 2)
            set_clock(monkeypatch, 2 * DAY)
            refused = sim.outcomes["401"]
            await sim.wait_for(lambda sim: sim.outcomes["401"] >= refused + 3)
            assert len(feed) == 1
            assert listener.counts["received"] == 0
