"""Whatever goes wrong with one watch's connections: exactly the right events come, and no other watch waits for it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from parts import data, following, quick, rig, states, story, transcript, webhook
from structlog.testing import capture_logs
from waits import until

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import snapshot

WHOLE = ["task.state_changed:queueing", "task.state_changed:processing", "task.succeeded:success"]


@pytest.mark.parametrize(
    "fault",
    [
        "drop@0x3",
        "drop@3x2",
        "drop@20x1",
        "reset@3x2",
        "reset@31x1",
        "truncate@3x2",
        "stall@3x1",
        "garbage@2",
        "huge@10x1",
        "html x2",
        "json x2",
        "204 x2",
        "401 x2",
        "403 x2",
        "404 x2",
        "408 x2",
        "429 x2",
        "429:0.1 x1",
        "500 x2",
        "503:soon x2",
        "hangup x2",
        "slowhead:0.2 x1",
        "redirect:/tasks/bad/events x1",
        "redirect x1",
        "crlf",
        "cr",
        "bom",
    ],
)
async def test_a_fault_loses_nothing_and_hurts_nobody_else(tmp_path: Path, fault: str) -> None:
    """The watch that it strikes tells every state once and in order; the other one does not notice."""
    policy = quick(idle_timeout=0.3 if fault.startswith("stall") else 30.0)
    async with Simulator(token="tok") as sim, Listener() as listener:
        sim.fault("bad", fault.replace(" ", ""))
        async with following(tmp_path, sim, listener, policy) as (rig, _):
            await rig.want("bad", "good")
            await listener.wait_for(lambda heard: len(story(heard.callbacks, "bad")) == 3)
            await listener.wait_for(lambda heard: len(story(heard.callbacks, "good")) == 3)
            assert story(listener.callbacks, "bad") == WHOLE
            assert story(listener.callbacks, "good") == WHOLE
            assert rig.ended() == {"bad", "good"}
        assert listener.summary().duplicates == 0


@pytest.mark.parametrize("fault", ["comments:0.02", "stall@1", "slowhead:30", "503", "401"])
async def test_a_watch_in_trouble_delays_no_other_one(tmp_path: Path, fault: str) -> None:
    """While one is stuck for good, a hundred others of its source come to their end."""
    async with Simulator(token="tok") as sim, Listener() as listener:
        sim.fault("bad", fault)
        async with following(tmp_path, sim, listener) as (rig, feed):
            await rig.want("bad", *map(str, range(100)))
            await listener.wait_for(lambda heard: heard.types["task.succeeded"] == 100)
            assert rig.ended() == set(map(str, range(100)))
            assert len(feed) == 1


async def test_comments_are_signs_of_life(tmp_path: Path) -> None:
    """A stream that only sends comments is not idle: it stays open beyond the idle timeout."""
    async with Simulator(token="tok") as sim, Listener() as listener:
        sim.fault("talks", "comments:0.05")
        sim.fault("silent", "stall@0")
        async with following(tmp_path, sim, listener, quick(idle_timeout=0.4)) as (rig, _):
            await rig.want("talks", "silent")
            await sim.wait_for(lambda sim: {"talks", "silent"} <= sim.tasks.keys())
            talks, silent = sim.tasks["talks"], sim.tasks["silent"]
            begun, then = talks.connections, silent.connections

            def outlives() -> bool:
                """Begin anew with a connection that was lost: where the machine stands still, a comment comes late."""
                nonlocal begun, then
                if talks.connections != begun:
                    begun, then = talks.connections, silent.connections
                return silent.connections >= then + 4

            await until(outlives, "a stream that talks outlives those that are silent")


async def test_a_final_event_followed_at_once_by_a_reset_is_read(tmp_path: Path) -> None:
    """The upstream forgets the task right after; nobody could ask again."""
    async with Simulator(token="tok", transcript=transcript("processing", "success")) as sim, Listener() as listener:
        sim.fault("*", "reset@2x1")
        sim.fault("*", "404#2")
        async with following(tmp_path, sim, listener) as (rig, _):
            ids = [str(n) for n in range(50)]
            await rig.want(*ids)
            await listener.wait_for(lambda heard: heard.types["task.succeeded"] == 50)
            assert {sim.tasks[id_].connections for id_ in ids} == {1}


async def test_a_task_not_found_within_grace_may_appear(tmp_path: Path) -> None:
    """404 is borne with until the grace period is over."""
    async with Simulator(token="tok") as sim, Listener() as listener:
        sim.fault("late", "404x5")
        async with following(tmp_path, sim, listener, quick(not_found_grace=30.0)) as (rig, _):
            await rig.want("late")
            await listener.wait(3)
            assert story(listener.callbacks, "late") == WHOLE
            assert rig.connects("not_found") == 5


async def test_a_task_not_found_beyond_grace_is_lost(tmp_path: Path) -> None:
    """One `watch.lost` with its reason, and no more connections after it."""
    async with Simulator(token="tok") as sim, Listener() as listener:
        async with following(tmp_path, sim, listener, quick(not_found_grace=0.3)) as (rig, feed):
            await rig.want("unknown")
            [lost] = await listener.wait(1)
            assert lost.type == "watch.lost"
            assert data(lost)["reason"] == "not_found"
            assert data(lost)["sequence"] == 1
            assert rig.rows("SELECT ended, lost FROM watches") == [(1, "not_found")]
            assert len(feed) == 0
        assert listener.counts["received"] == 1


async def test_refused_credentials_are_tried_slowly_and_said_once(tmp_path: Path) -> None:
    """401 waits at least half the longest backoff between tries; the log says so once."""
    async with Simulator(token="another") as sim, Listener() as listener:
        with capture_logs() as logs:
            async with following(
                tmp_path, sim, listener, quick(backoff_initial=0.001, backoff_max=0.4, give_up_after=1.0)
            ) as (rig, _):
                await rig.want("1", "2", "3")
                lost = await listener.wait(3)
                assert {data(callback)["reason"] for callback in lost} == {"refused"}
                assert 3 * 2 <= rig.connects("refused") <= 3 * 8
    assert Counter(entry["event"] for entry in logs)["source.refused"] == 1


async def test_a_new_token_hurries_those_that_were_refused(tmp_path: Path) -> None:
    """After an update of the token nobody sits its backoff out, and the reason for giving up is forgotten."""
    async with Simulator(token="another") as sim, Listener() as listener:
        policy = quick(backoff_initial=60.0, backoff_max=600.0)
        async with following(tmp_path, sim, listener, policy) as (rig, feed):
            await rig.want("1", "2")
            await sim.wait_for(lambda sim: sim.outcomes["401"] == 2)
            rig.sources[0].update(replace(rig.sources[0].settings, token="another"))
            feed.update(policy, reopen=False, hurry=True)
            await listener.wait_for(lambda heard: heard.types["task.succeeded"] == 2)


async def test_a_connection_under_way_with_the_old_token_is_hurried_too(tmp_path: Path) -> None:
    """The refusal that an update crosses on the wire counts for nothing."""
    async with Simulator() as sim, Listener() as listener:
        sim.fault("1", "slowhead:0.3x1")
        sim.fault("1", "401x1")
        policy = quick(backoff_initial=60.0, backoff_max=600.0)
        async with following(tmp_path, sim, listener, policy) as (rig, feed):
            await rig.want("1")
            await sim.wait_for(lambda sim: sim.outcomes["slowhead"] == 1)
            feed.update(policy, reopen=False, hurry=True)
            await listener.wait_for(lambda heard: heard.types["task.succeeded"] == 1)


async def test_retry_after_is_honoured(tmp_path: Path) -> None:
    """However short the backoff, the next connection comes no sooner than the upstream asked."""
    async with Simulator(token="tok") as sim, Listener() as listener:
        sim.fault("1", "429:0.7x1")
        async with following(tmp_path, sim, listener) as (rig, _):
            await rig.want("1")
            await sim.wait_for(lambda sim: sim.outcomes["429"] == 1)
            began = time.monotonic()
            await sim.wait_connects(1)
            assert time.monotonic() - began >= 0.65


async def test_an_upstream_that_answers_html_is_waited_out(tmp_path: Path) -> None:
    """A maintenance page with status 200 is no end of a watch, however long it stays."""
    async with Simulator(token="tok") as sim, Listener() as listener:
        sim.fault("1", "html")
        async with following(tmp_path, sim, listener, quick(give_up_after=0.1)) as (rig, _):
            await rig.want("1")
            await sim.wait_for(lambda sim: sim.outcomes["html"] >= 10)
            sim.clear_faults()
            await listener.wait(3)
        assert story(listener.callbacks, "1") == WHOLE


@pytest.mark.parametrize(
    "bad",
    [
        snapshot("processing") + b'\ndata: {"state":"success","b64_json":"' + b"A" * 1_100_000 + b'"}',
        snapshot("processing") + b"\ndata: " + b"x" * (1 << 20),
        b"[DONE",
        b'{"error":{"message":"no state"}}',
    ],
    ids=["event over the bound", "line over the bound", "no JSON", "no state"],
)
async def test_a_fault_that_comes_on_every_connection_is_borne_with_and_given_up(tmp_path: Path, bad: bytes) -> None:
    """The pauses grow, one line says it, and patience ends it; a repeated first snapshot does not begin it anew."""
    async with Simulator(token="tok", transcript=transcript()) as sim, Listener() as listener:
        sim.push("1", "processing")
        with capture_logs() as logs:
            policy = quick(backoff_initial=0.05, backoff_max=0.4, give_up_after=2.0, deadline=600.0)
            async with following(tmp_path, sim, listener, policy) as (rig, feed):
                await rig.want("1")
                await listener.wait(1)
                sim.push("1", bad, last=True)
                await until(lambda: feed.troubles == {"unreadable": 1})
                await until(lambda: all(found.health.error for found in feed.followed))
                lost = (await listener.wait(2))[-1]
                connects = sim.connects
                assert feed.troubles == {}
        assert (lost.type, data(lost)["reason"]) == ("watch.lost", "unreadable")
        assert connects <= 45  # 2 s of pauses that are 0.2 s on average
    assert Counter(entry["event"] for entry in logs)["source.unreadable"] == 1
    assert "source.recovered" not in {entry["event"] for entry in logs}


async def test_a_stream_that_breaks_at_the_same_place_is_backed_off_from(tmp_path: Path) -> None:
    """A repeated snapshot before each break does not keep the pauses short; a break alone gives no watch up."""
    async with Simulator(token="tok", transcript=transcript()) as sim, Listener() as listener:
        sim.push("1", "processing")
        sim.fault("1", "reset@1")
        with capture_logs() as logs:
            policy = quick(backoff_initial=0.05, backoff_max=0.4, give_up_after=0.5)
            async with following(tmp_path, sim, listener, policy) as (rig, feed):
                await rig.want("1")
                await sim.wait_connects(12)
                assert feed.troubles == {"unavailable": 1}
                assert [found.health.failures > 8 for found in feed.followed] == [True]
                sim.clear_faults()
                sim.push("1", "success")
                await listener.wait(2)
        assert states(listener.callbacks, "1") == ["processing", "success"]
    assert [entry["event"] for entry in logs if entry["event"].startswith("source.")] == [
        "source.unavailable",
        "source.recovered",
    ]


async def test_a_state_that_moves_backwards_is_a_change(tmp_path: Path) -> None:
    """Each change is told, also one back, and one to a state that nobody knows."""
    moves = ["processing", "queueing", "processing", "dreaming", "failed"]
    async with (
        Simulator(token="tok", transcript=transcript(*moves)) as sim,
        Listener() as listener,
        following(tmp_path, sim, listener) as (rig, _),
    ):
        await rig.want("1")
        await listener.wait(5)
        assert states(listener.callbacks, "1") == moves
        assert [callback.sequence for callback in listener.callbacks] == [1, 2, 3, 4, 5]


async def test_repeats_tell_nothing_across_reconnect_and_restart(tmp_path: Path) -> None:
    """The same snapshot on new connections, and after a restart, is no news."""
    async with Simulator(token="tok", transcript=transcript(), keep_open=True) as sim, Listener() as listener:
        sim.push("1", "processing")
        async with following(tmp_path, sim, listener) as (rig, _):
            await rig.want("1")
            await listener.wait(1)
            for connects in (2, 3, 4):
                sim.cut("1")
                await sim.wait_connects(connects)
        async with following(tmp_path, sim, listener) as (_, _):
            await sim.wait_connects(5)
            sim.push("1", "success")
            await listener.wait(2)
        assert states(listener.callbacks, "1") == ["processing", "success"]
        assert [callback.sequence for callback in listener.callbacks] == [1, 2]


async def test_an_error_without_a_state_ends_the_watch(tmp_path: Path) -> None:
    """The preset names the error: it fails a task that has a state, and one that never had any, at once."""
    error = {"error": {"code": "content_policy", "message": "refused"}}
    async with Simulator(token="tok", transcript=transcript()) as sim, Listener() as listener, rig(tmp_path) as made:
        made.set_endpoints({"app": webhook(listener.url)})
        made.watcher.set_feeds({"vidu": made.feed(made.source(sim, failure_if_present=("error",)))})
        sim.push("moved", "processing")
        await made.want("moved", "new")
        await listener.wait(1)
        sim.push("moved", error, last=True)
        sim.push("new", error, last=True)
        await listener.wait(3)
        assert story(listener.callbacks, "moved") == ["task.state_changed:processing", "task.failed:processing"]
        assert story(listener.callbacks, "new") == ["task.failed:content_policy"]
        assert {data(callback)["error"]["message"] for callback in list(listener.callbacks)[1:]} == {"refused"}
