"""A poll asks whether the answer before still holds (If-None-Match); 304 is no change, and no trouble."""

from __future__ import annotations

from pathlib import Path

import pytest
from parts import quick
from polled_upstream import Answer, PolledUpstream, state
from test_polling import polling, polls
from waits import until

from notifier.sources.preset import Poll
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
        await until(lambda: not any(each.task for each in feed._all.values()))
        feed.update(quick(poll=Poll(interval="50ms")), reopen=True, hurry=True)
        await listener.wait(2)
        assert "If-None-Match" not in upstream.requests[1].headers
