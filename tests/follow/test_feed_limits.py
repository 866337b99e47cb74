"""Who may connect when, what a reload does to open streams, and what is left when watches go."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from parts import Rig, ScriptedSender, clock, data, following, locked, quick, rig, states, story, transcript, webhook
from structlog.testing import capture_logs
from waits import NOTICED, PATIENCE, until

from notifier.core.machine import Step
from notifier.core.model import NONE
from notifier.follow import Feed, FeedPolicy, time_limits
from notifier.follow.admission import Slots
from notifier.follow.recorder import Recorder
from notifier.follow.source_announcer import SourceAnnouncer
from notifier.follow.subscription import Stage
from notifier.follow.time_limits import SWEEPS, Due, TimeLimits
from notifier.sources.sse import SseSource, SseStream
from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript
from notifier.tools.waiting import raise_descriptor_limit

WHOLE = ["task.state_changed:queueing", "task.state_changed:processing", "task.succeeded:success"]
STILL = Transcript(snapshots=())  # moves by hand only


@asynccontextmanager
async def still(
    tmp_path: Path, policy: FeedPolicy | None = None, **more: Any
) -> AsyncIterator[tuple[Simulator, Listener, Rig, Feed]]:
    """Follow an upstream whose tasks move by hand only."""
    async with (
        Simulator(transcript=STILL) as sim,
        Listener() as listener,
        following(tmp_path, sim, listener, policy, **more) as (made, feed),
    ):
        yield sim, listener, made, feed


# -- who may connect


async def test_no_more_streams_than_allowed_and_the_oldest_first(tmp_path: Path) -> None:
    """The cap holds at every instant; those that wait connect in the order in which they were wanted."""
    order: list[str] = []
    async with still(tmp_path, quick(max_streams=3)) as (sim, listener, rig, feed):
        for number in range(10):
            await rig.want(str(number))
        await sim.wait_open(3)
        for number in range(10):
            order.append(str(number))
            await sim.wait_for(lambda sim: set(order) <= set(sim.tasks))
            sim.push(str(number), "success")
            await sim.wait_connects(min(10, number + 4))
        await listener.wait(10)
        assert list(sim.tasks) == order
        assert sim.peak_streams == 3
        await until(lambda: len(feed) == 0 and feed.open == 0)


async def test_streams_of_the_whole_process_are_shared_in_turn(tmp_path: Path) -> None:
    """A source that waits for a place gets it when another source gives one up, and nobody takes them all."""
    async with Simulator(transcript=STILL) as one, Simulator(transcript=STILL) as two, rig(tmp_path) as made:
        made.slots = Slots(2)
        made.watcher.set_feeds(
            {name: made.feed(made.source(sim, name=name)) for name, sim in (("one", one), ("two", two))}
        )
        await made.want(*map(str, range(6)), source="one")
        await one.wait_open(2)
        await made.want("0", source="two")
        await until(lambda: len(made.watcher.feeds["two"]) == 1)
        one.push("0", "success")
        one.push("1", "success")
        await two.wait_open(1)
        await one.wait_open(1)
        two.push("0", "success")
        await one.wait_open(2)
        assert made.slots.free == 0


async def test_connections_are_begun_no_faster_than_allowed(tmp_path: Path) -> None:
    """At 50 a second, 30 connections beyond the first burst take half a second at least."""
    async with still(tmp_path, quick(connect_rate=50.0)) as (sim, _, rig, _):
        await rig.want(*map(str, range(35)))
        await sim.wait_connects(1)
        began = time.monotonic()
        await sim.wait_connects(35)
        assert 0.4 <= time.monotonic() - began <= PATIENCE


async def test_streams_that_all_drop_at_once_do_not_return_at_once(tmp_path: Path) -> None:
    """The ramp holds for reconnections too."""
    async with still(tmp_path, quick(connect_rate=100.0, backoff_initial=0.001)) as (sim, _, rig, _):
        await rig.want(*map(str, range(60)))
        await sim.wait_connects(60)
        sim.drop_all()
        began = time.monotonic()
        await sim.wait_connects(120)
        assert time.monotonic() - began >= 0.4


async def test_a_watch_taken_up_again_while_its_old_entry_waits(tmp_path: Path) -> None:
    """Two entries of one watch in the line do not collide, and make one connection."""
    async with still(tmp_path, quick(max_streams=1)) as (sim, listener, rig, feed):
        await rig.want("0", "1")
        await sim.wait_open(1)
        waiting = next(watch for watch in feed.followed.watches() if watch.id not in sim.tasks)
        for _ in range(3):
            feed.drop(waiting.pk)
            feed.add(waiting)
        sim.push("0" if "0" in sim.tasks else "1", "success")
        sim.push(waiting.id, "success")
        await listener.wait(2)
        assert sim.connects == 2


# -- the clocks


async def test_the_deadline_ends_a_watch(tmp_path: Path) -> None:
    """`watch.lost` with its reason, once; the stream is closed."""
    async with Simulator(transcript=STILL) as sim, Listener() as listener:
        async with following(tmp_path, sim, listener, quick(deadline=0.5)) as (rig, feed):
            await rig.want("1")
            sim.push("1", "processing")
            callbacks = await listener.wait(2)
            assert states(callbacks, "1") == ["processing", "processing"]
            assert (callbacks[1].type, data(callbacks[1])["reason"]) == ("watch.lost", "deadline")
            assert callbacks[1].sequence == 2
            await sim.wait_open(0)
            await until(lambda: len(feed) == 0 and feed.open == 0)
        assert listener.counts["received"] == 2


async def test_the_deadline_ends_a_watch_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is sitting out its backoff, or waits for a place."""
    monkeypatch.setattr(time_limits, "PRESENT_LONGEST", NOTICED)  # for which a silent stream is looked at once more
    async with Simulator(transcript=STILL) as sim, Listener() as listener:
        sim.fault("refused", "503")
        policy = quick(deadline=0.4, backoff_initial=60, backoff_max=60, max_streams=1)
        async with following(tmp_path, sim, listener, policy) as (rig, feed):
            await rig.want("refused")
            await sim.wait_for(lambda sim: sim.outcomes["503"] == 1)
            await rig.want("open", "waits")
            callbacks = await listener.wait(3)
            assert {data(callback)["reason"] for callback in callbacks} == {"deadline"}
            await until(lambda: feed.open == 0)


async def test_a_stall_is_told_once_for_each_state(tmp_path: Path) -> None:
    """Nothing changes for `stall_after`: told once; after a change, once again."""
    async with Simulator(transcript=STILL) as sim, Listener() as listener:
        async with following(tmp_path, sim, listener, quick(stall_after=0.3)) as (rig, _):
            sim.push("1", "queueing")
            await rig.want("1")
            await listener.wait(2)
            sim.push("1", "queueing")
            sim.cut("1")
            await sim.wait_connects(2)
            sim.push("1", "processing")
            await listener.wait(4)
            sim.push("1", "success")
            await listener.wait(5)
        assert story(listener.callbacks, "1") == [
            "task.state_changed:queueing",
            "watch.stalled:queueing",
            "task.state_changed:processing",
            "watch.stalled:processing",
            "task.succeeded:success",
        ]
        assert [callback.sequence for callback in listener.callbacks] == [1, 2, 3, 4, 5]


async def test_an_open_stream_is_not_looked_at_before_a_limit_may_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of quiet ones cost next to nothing; what a snapshot that cannot be read ails is seen at once."""
    sweeps, looks = 0, 0
    look, announce = TimeLimits.look, SourceAnnouncer.look

    def counted_look(self: TimeLimits, *given: Any) -> Due:
        nonlocal looks
        looks += 1
        return look(self, *given)

    def counted_sweep(self: SourceAnnouncer, *given: Any) -> None:
        nonlocal sweeps
        sweeps += 1
        announce(self, *given)

    monkeypatch.setattr(TimeLimits, "look", counted_look)
    monkeypatch.setattr(SourceAnnouncer, "look", counted_sweep)
    async with still(tmp_path, quick(failing_after=1.0)) as (sim, _, rig, feed):
        await rig.want(*map(str, range(20)))
        await sim.wait_open(20)
        await until(lambda: feed.open == 20)
        begun, looked = sweeps, looks
        await until(lambda: sweeps >= begun + SWEEPS)
        assert looks - looked <= 20 * (sweeps - begun) / 2
        sim.push("7", {"no": "state"})
        await until(lambda: feed.troubles == {"unreadable": 1})


# -- reload


async def test_a_new_token_or_policy_touches_no_open_stream(tmp_path: Path) -> None:
    """`hurry` is for those that wait."""
    async with still(tmp_path) as (sim, listener, rig, feed):
        await rig.want(*map(str, range(5)))
        await sim.wait_open(5)
        feed.update(quick(max_streams=1), reopen=False, hurry=True)
        for number in range(5):
            sim.push(str(number), "success")
        await listener.wait(5)
        assert sim.connects == 5


async def test_reopen_connects_every_stream_anew_at_once(tmp_path: Path) -> None:
    """Also one that is just connecting, one that is saving, and those that wait; none waits for a backoff."""
    async with Simulator(transcript=STILL) as sim, Listener() as listener:
        sim.fault("slow", "slowhead:1x1")
        sim.fault("sleeps", "503x1")
        policy = quick(backoff_initial=60.0, backoff_max=60.0)
        async with following(tmp_path, sim, listener, policy) as (rig, feed):
            ids = ["0", "1", "slow", "sleeps", "saves"]
            await rig.want(*ids)
            await sim.wait_open(3)
            await sim.wait_for(lambda sim: sim.outcomes["503"] == 1 and sim.outcomes["slowhead"] == 1)
            saves = next(found for found in feed.followed if found.watch.id == "saves")
            with locked(rig):
                sim.push("saves", "processing")
                await until(lambda: saves.stage is Stage.SAVING)
                feed.update(policy, reopen=True, hurry=False)
            await sim.wait_for(lambda sim: all(sim.tasks[id_].connections == 2 for id_ in ids))
            await sim.wait_open(5)
            for id_ in ids:
                sim.push(id_, "success")
            await listener.wait_for(lambda heard: heard.types["task.succeeded"] == 5)
            assert states(listener.callbacks, "saves") == ["processing", "success"]


async def test_a_feed_that_is_replaced_loses_nothing(tmp_path: Path) -> None:
    """What the old one was saving is sent, and the new one goes on from there."""
    async with still(tmp_path) as (sim, listener, rig, feed):
        await rig.want("1", "2")
        await sim.wait_open(2)
        with locked(rig):
            sim.push("1", "processing")
            await until(lambda: any(found.stage is Stage.SAVING for found in feed.followed))
            rig.watcher.set_feeds({"vidu": rig.feed(rig.source(sim))})
        await listener.wait(1)
        sim.push("1", "success")
        sim.push("2", "success")
        await listener.wait_for(lambda heard: heard.types["task.succeeded"] == 2)
        assert states(listener.callbacks, "1") == ["processing", "success"]
        assert [callback.sequence for callback in listener.callbacks if callback.watch == "1"] == [1, 2]


async def test_watches_of_a_source_that_is_gone_go_on_when_it_is_back(tmp_path: Path) -> None:
    """Until then nothing connects; what was described meanwhile holds."""
    async with still(tmp_path) as (sim, listener, rig, feed):
        await rig.want("1")
        await sim.wait_open(1)
        [watch] = feed.followed.watches()
        rig.watcher.set_feeds({})
        await sim.wait_open(0)
        rig.watcher.describe([replace(watch, labels={"team": "video"})])
        rig.watcher.set_feeds({"vidu": rig.feed(rig.source(sim))})
        sim.push("1", "success")
        [callback] = await listener.wait(1)
        assert data(callback)["watch"]["labels"] == {"team": "video"}
        assert sim.connects == 2


# -- what is left


async def test_a_watch_dropped_while_it_saves_is_told_all_the_same(tmp_path: Path) -> None:
    """What was committed is sent at once, not only after a restart; then the stream closes."""
    async with still(tmp_path) as (sim, listener, rig, feed):
        await rig.want("1")
        await sim.wait_open(1)
        [found] = feed.followed
        with locked(rig):
            sim.push("1", "processing")
            await until(lambda: found.stage is Stage.SAVING)
            feed.drop(found.watch.pk)
        await listener.wait(1)
        await sim.wait_open(0)
        await until(lambda: rig.statuses("app") == {"delivered": 1})
        await until(lambda: feed.open == 0)


async def test_a_watch_dropped_before_its_task_begins_gives_its_place_back(tmp_path: Path) -> None:
    """A task that is cancelled before its first step runs no `finally`."""
    async with still(tmp_path, quick(max_streams=1), run=("dispatcher",)) as (sim, listener, rig, feed):
        [watch] = await rig.claim("1")
        running = asyncio.create_task(feed.run())
        await asyncio.sleep(0)
        feed.add(watch)
        for _ in range(100):
            await asyncio.sleep(0)
            if feed.open:
                break
        assert [found.stream for found in feed.followed] == [None]
        feed.drop(watch.pk)
        await until(lambda: feed.open == 0)
        feed.add(watch)
        sim.push("1", "success")
        await listener.wait(1)
        running.cancel()
        await asyncio.wait({running})


@pytest.mark.unmeasured
async def test_a_thousand_dropped_watches_leave_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No task, no descriptor, no warning, wherever they were: connecting, reading, saving, waiting."""
    asyncio.get_running_loop().set_debug(True)
    caplog.set_level(logging.ERROR, "asyncio")  # of slow callbacks debug mode says much on a busy machine
    raise_descriptor_limit()
    async with Simulator(transcript=STILL) as sim, rig(tmp_path) as made:
        sim.fault("w-1*", "slowhead:600")
        sim.fault("w-2*", "503")
        made.set_endpoints({"app": ScriptedSender()})
        # Those that are refused sit out a long backoff: trying again and again, they would take all of a slow machine.
        feed = made.feed(
            made.source(sim, connect_timeout=PATIENCE),
            quick(connect_rate=10_000.0, backoff_initial=60.0, backoff_max=60.0),
        )
        made.watcher.set_feeds({"vidu": feed})
        sim.push("first", "success")  # so that whatever is opened once is open
        await made.want("first")
        await until(lambda: made.statuses("app") == {"delivered": 1} and not feed.open and not sim.open_connections)
        tasks, descriptors = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
        await made.want(*(f"w-{number}" for number in range(1000)))
        await until(lambda: len(feed) == 1000)
        await sim.wait_for(
            lambda sim: sim.open_streams >= 700, timeout=PATIENCE
        )  # debug mode is slow on a busy machine
        with locked(made):
            for number in range(300, 330):
                sim.push(f"w-{number}", "processing")
            await until(lambda: any(found.stage is Stage.SAVING for found in feed.followed))
            made.watcher.drop(feed.followed.watches())
        assert len(feed) == 0
        await until(lambda: feed.open == 0 and sim.open_connections == 0)
        await until(lambda: made.statuses("app").keys() <= {"delivered"})
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
    assert not caplog.records


# -- faults of our own


class Flawed(Recorder):
    """Fails as often as told for one watch."""

    failures = 0

    async def record(self, step: Step) -> None:
        if step.watch.id == "bad" and self.failures:
            self.failures -= 1
            raise RuntimeError("a fault of ours")
        await super().record(step)


async def test_a_fault_while_recording_is_contained(tmp_path: Path) -> None:
    """It is logged with the watch's id; the watch goes on, and so do the others."""
    with capture_logs() as logs:
        async with (
            Simulator(transcript=transcript("queueing", "processing", "success")) as sim,
            Listener() as listener,
            rig(tmp_path) as made,
        ):
            sim.fault("bad", "stall@1x3")
            made.set_endpoints({"app": webhook(listener.url)})
            flawed = Flawed(
                store=made.store,
                outbox=made.dispatcher,
                metrics=made.metrics,
                clock=clock,
                routes=made.recorder.routes,
            )
            flawed.failures = 3
            made.watcher.set_feeds({"vidu": made.feed(made.source(sim), recorder=flawed)})
            await made.want("bad", "good")
            await listener.wait(6)
            assert story(listener.callbacks, "bad") == WHOLE
            assert story(listener.callbacks, "good") == WHOLE
    failed = [entry for entry in logs if entry["event"] == "watch.failed"]
    assert [entry["id"] for entry in failed] == ["bad"] * 3


class Raising(SseSource):
    """A source that raises what no source may."""

    failures = 3

    async def open(self, task_id: str, *, last_event_id: str = "", variables: Mapping[str, str] = NONE) -> SseStream:
        if task_id == "bad" and self.failures:
            self.failures -= 1
            raise KeyError("a fault of ours")
        return await super().open(task_id, last_event_id=last_event_id, variables=variables)


async def test_a_fault_of_a_source_is_contained(tmp_path: Path) -> None:
    """The same, where it comes before a stream is open."""
    async with Simulator() as sim, Listener() as listener, rig(tmp_path) as made:
        made.set_endpoints({"app": webhook(listener.url)})
        source = made.source(sim, Raising)
        assert isinstance(source, Raising)
        made.watcher.set_feeds({"vidu": made.feed(source)})
        await made.want("bad", "good")
        await listener.wait(6)
        assert story(listener.callbacks, "bad") == WHOLE
        assert source.failures == 0


async def test_a_watch_that_turns_out_to_be_changed_is_taken_up_as_it_is(tmp_path: Path) -> None:
    """A stale write makes no event; the watch is claimed again, and told from there."""
    async with still(tmp_path) as (sim, listener, rig, feed):
        await rig.want("1", "2")
        await sim.wait_open(2)
        for found in feed.followed:
            found.watch = replace(found.watch, sequence=5)
        sim.push("1", "processing")
        await listener.wait(1)
        sim.push("1", "success")
        await listener.wait(2)
        assert [callback.sequence for callback in listener.callbacks] == [1, 2]


async def test_a_watch_that_is_wanted_no_more_is_let_go(tmp_path: Path) -> None:
    """Even where nobody told the feed: what it observes afterwards is not recorded."""
    async with still(tmp_path) as (sim, _, rig, feed):
        await rig.want("1")
        await sim.wait_open(1)
        await rig.store.watches.remove("vidu", "1", now=clock())
        sim.push("1", "success")
        await until(lambda: len(feed) == 0 and feed.open == 0)
        assert rig.rows("SELECT count(*) FROM events") == [(0,)]


async def test_every_task_of_a_feed_has_a_name(tmp_path: Path) -> None:
    """A dump of tasks tells what each one does."""
    async with still(tmp_path) as (sim, _, rig, _):
        await rig.want("1")
        await sim.wait_open(1)
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert {"feed vidu", "sweep vidu", "watch vidu/1"} <= names
