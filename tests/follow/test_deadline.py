"""A deadline ends no watch before the upstream was asked once more: the task may have ended while nobody looked."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from parts import data, following, quick, rig, states, story, webhook
from waits import NOTICED, until

from notifier.follow import time_limits
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

STILL = Transcript(snapshots=())  # moves by hand only


async def test_an_upstream_that_is_down_at_the_deadline_is_asked_again(tmp_path: Path) -> None:
    """503 from before the deadline until some time after it; then the task turns out to have succeeded."""
    async with Simulator(transcript=STILL) as sim, Listener() as listener:
        sim.push("1", "processing")
        async with following(tmp_path, sim, listener, quick(deadline=1.0)) as (rig, _):
            await rig.want("1")
            await listener.wait(1)
            sim.fault("1", "503")
            sim.cut("1")
            await asyncio.sleep(2.0)  # the deadline passes meanwhile
            before = sim.outcomes["503"]
            await sim.wait_for(lambda sim: sim.outcomes["503"] > before)
            sim.push("1", "success")
            sim.clear_faults()
            await listener.wait(2)
        assert states(listener.callbacks, "1") == ["processing", "success"]


async def test_an_upstream_that_stays_down_is_not_asked_for_ever(tmp_path: Path) -> None:
    """The watch is lost by its deadline, a few seconds late; the loss tells what the upstream said instead."""
    async with Simulator(transcript=STILL) as sim, Listener() as listener:
        sim.fault("1", "503")
        async with following(tmp_path, sim, listener, quick(deadline=0.3)) as (rig, feed):
            await rig.want("1")
            [lost] = await listener.wait(1)
            assert (lost.type, data(lost)["reason"]) == ("watch.lost", "deadline")
            assert data(lost)["detail"].startswith(
                "no terminal state within 0.3 s; at last: the upstream answers 503: "
            )
            await until(lambda: len(feed) == 0 and feed.open == 0)


async def test_a_success_that_waits_in_the_socket_is_read(tmp_path: Path) -> None:
    """The process stood still from before the success until after the deadline."""
    async with Simulator(transcript=STILL) as sim, Listener() as listener:
        async with following(tmp_path, sim, listener, quick(deadline=1.0)) as (rig, _):
            await rig.want("1")
            await sim.wait_open(1)
            sim.push("1", "success")
            time.sleep(2.0)  # noqa: ASYNC251  # the whole process stands still
            [callback] = await listener.wait(1)
        assert callback.type == "task.succeeded"


async def test_a_watch_that_was_overdue_before_the_start_is_asked_first(tmp_path: Path) -> None:
    """The daemon was down past the deadline; the upstream takes its time to answer."""
    async with Simulator(transcript=STILL) as sim, Listener() as listener, rig(tmp_path) as made:
        made.set_endpoints({"app": webhook(listener.url)})
        sim.push("1", "success")
        sim.fault("1", "slowhead:2")
        await made.want("1")
        await asyncio.sleep(0.5)
        made.watcher.set_feeds({"vidu": made.feed(made.source(sim), quick(deadline=0.2))})
        [callback] = await listener.wait(1)
        assert callback.type == "task.succeeded"
        assert sim.connects == 1


async def test_a_watch_that_never_had_its_turn_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All places are taken until long after the deadline; whoever waits is asked for when a place is free."""
    monkeypatch.setattr(time_limits, "PRESENT_LONGEST", NOTICED)  # for which a silent stream is looked at once more
    async with Simulator(transcript=STILL) as sim, Listener() as listener:
        policy = quick(deadline=1.0, max_streams=1)
        async with following(tmp_path, sim, listener, policy) as (rig, feed):
            await rig.want("first")
            await sim.wait_open(1)
            ids = ["second", "third", "fourth"]
            for id_ in ids:
                sim.push(id_, "success")
            await rig.want(*ids)
            await listener.wait(4)
            assert {id_: story(listener.callbacks, id_) for id_ in ids} == {
                id_: ["task.succeeded:success"] for id_ in ids
            }
            [lost] = [callback for callback in listener.callbacks if callback.watch == "first"]
            assert (lost.type, data(lost)["reason"]) == ("watch.lost", "deadline")
            await until(lambda: len(feed) == 0 and feed.open == 0)


async def test_a_stream_that_never_pauses_is_looked_at_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comments without end do not keep a watch beyond its deadline."""
    monkeypatch.setattr(time_limits, "PRESENT_LONGEST", NOTICED)  # for which a silent stream is looked at once more
    async with Simulator(transcript=STILL) as sim, Listener() as listener:
        sim.push("1", "processing")
        sim.fault("1", "comments:0.05")
        async with following(tmp_path, sim, listener, quick(deadline=0.3)) as (rig, _):
            await rig.want("1")
            await listener.wait_for(lambda heard: heard.types["watch.lost"] == 1)
            assert data(listener.callbacks[-1])["reason"] == "deadline"


async def test_a_deadline_that_a_reload_moves_is_forgotten(tmp_path: Path) -> None:
    """A watch that is being looked at for the last time goes on when its deadline is moved."""
    async with Simulator(transcript=STILL) as sim, Listener() as listener:
        sim.fault("1", "503")
        async with following(tmp_path, sim, listener, quick(deadline=0.2)) as (rig, feed):
            await rig.want("1")
            await until(lambda: any(found.asked is not None for found in feed.followed))
            feed.update(quick(deadline=3600.0), reopen=False, hurry=False)
            await until(lambda: all(found.overdue is None for found in feed.followed))
            sim.push("1", "success")
            sim.clear_faults()
            [callback] = await listener.wait(1)
            assert callback.type == "task.succeeded"
