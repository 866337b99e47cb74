"""A poll asks whether the answer before still holds (If-None-Match); 304 is no change, and no trouble."""

from __future__ import annotations

from pathlib import Path

import pytest
from parts import clock, locked, quick, rig, webhook
from polled_upstream import Answer, PolledUpstream, state
from test_feed_limits import Flawed
from test_polling import FIELDS, polling, polls
from test_results import archive
from waits import until

from notifier.follow.subscription import Stage
from notifier.sources.preset import Poll, Preset
from notifier.tools.listener import Listener

BUSY = Answer(body={"status": "busy"}, headers={"ETag": '"1"'})
SAME = Answer(status=304, headers={"ETag": '"1"'})


async def test_an_answer_that_still_holds_is_no_change(tmp_path: Path) -> None:
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener) as (made, feed),
    ):
        upstream.script("1", BUSY, SAME, SAME, Answer(body={"status": "ok"}, headers={"ETag": '"2"'}))
        await made.want("1")
        await listener.wait(2)
        assert [one.state for one in listener.callbacks] == ["busy", "ok"]
        assert [asked.headers.get("If-None-Match") for asked in upstream.requests] == [None, '"1"', '"1"', '"1"']
        assert polls(made, "answered") == 4
        assert not feed.troubles


@pytest.mark.parametrize(
    "headers", [{}, {"ETag": '"' + "x" * 300 + '"'}, {"Last-Modified": "Sat, 28 Nov 2026 16:00:00 GMT"}]
)
async def test_nothing_is_asked_without_a_tag_of_use(tmp_path: Path, headers: dict[str, str]) -> None:
    """A date has a second's precision: two states may share it, and the second would never be seen."""
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener) as (made, _),
    ):
        upstream.script("1", Answer(body={"status": "busy"}, headers=headers), state("ok"))
        await made.want("1")
        await listener.wait(2)
        assert all(not name.startswith("If-") for asked in upstream.requests for name in asked.headers)


async def test_a_304_that_nobody_asked_for_is_no_answer(tmp_path: Path) -> None:
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener) as (made, _),
    ):
        upstream.script("1", SAME, state("ok"))
        await made.want("1")
        await listener.wait(1)
        assert polls(made, "unreadable") == 1


async def test_a_new_description_asks_without_the_tag(tmp_path: Path) -> None:
    """Other states may stand for the same answer now."""
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, interval="1h", max_interval="1h") as (made, feed),
    ):
        upstream.script("1", BUSY, state("ok"))
        await made.want("1")
        await listener.wait(1)
        await until(lambda: not any(each.task for each in feed.followed))
        feed.update(quick(poll=Poll(interval="50ms")), reopen=True, hurry=True)
        await listener.wait(2)
        assert "If-None-Match" not in upstream.requests[1].headers


async def test_the_last_look_asks_for_everything(tmp_path: Path) -> None:
    """After the deadline no answer counts that only says that nothing has changed."""
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, interval="1h", max_interval="1h", deadline=1.0) as (made, _),
    ):
        upstream.script("1", BUSY, Answer(body={"status": "ok"}, headers={"ETag": '"1"'}))
        await made.want("1")
        await listener.wait(2)
        assert [one.state for one in listener.callbacks] == ["busy", "ok"]
        assert "If-None-Match" not in upstream.requests[1].headers


async def test_a_success_that_could_not_be_saved_is_asked_for_without_its_tag(tmp_path: Path) -> None:
    """304 would hide it for ever."""
    preset = Preset.model_validate(
        FIELDS | {"paths": {"state": "status", "result": "url"}, "poll": {"interval": "50ms", "max_interval": "50ms"}}
    )
    async with PolledUpstream() as upstream, Listener() as listener, rig(tmp_path) as made:
        done = {"status": "ok", "url": f"{upstream.url}/film.mp4"}
        upstream.script("bad", Answer(body=done, headers={"ETag": '"1"'}))
        upstream.script("film.mp4", Answer(body=b"film"))
        made.set_endpoints({"app": webhook(listener.url)})
        flawed = Flawed(
            store=made.store, outbox=made.dispatcher, metrics=made.metrics, clock=clock, routes=made.recorder.routes
        )
        flawed.failures, flawed.archive = 1, archive(tmp_path)
        source = made.polled(preset.model_copy(update={"base_url": upstream.url}))
        made.watcher.set_feeds({"vidu": made.feed(source, quick(poll=preset.poll), recorder=flawed)})
        await made.want("bad")
        [callback] = await listener.wait(1)
        assert callback.state == "ok"
        asked = [one for one in upstream.requests if one.task == "bad"]
        assert ["If-None-Match" in one.headers for one in asked] == [False, False]
        flawed.archive.retire()


async def test_a_description_that_changes_while_an_answer_is_saved_asks_without_its_tag(tmp_path: Path) -> None:
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, interval="1h", max_interval="1h") as (made, feed),
    ):
        upstream.script("1", state("new"), BUSY, state("ok"))
        await made.want("1")
        await made.settled("app", 1)
        with locked(made):
            feed.update(quick(poll=Poll(interval="50ms")), reopen=False, hurry=True)
            [found] = feed.followed
            await until(lambda: found.stage is Stage.SAVING)
            feed.update(quick(poll=Poll(interval="50ms")), reopen=True, hurry=True)
        await listener.wait(3)
        assert "If-None-Match" not in upstream.requests[2].headers
