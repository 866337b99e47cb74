"""A task without a stream is polled by the twin: the same watch, the same events, nothing twice, nothing lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from parts import quick
from polled_upstream import Answer, state
from streamed_upstream import Streamed, StreamedUpstream, streaming, told
from structlog.testing import capture_logs
from waits import until

from notifier.sources.preset import Poll
from notifier.tools.listener import Listener

TWIN: dict[str, Any] = {}
FULL = {"no_stream": [{"status": 429, "text": "too_many_streams"}]}


def words(listener: Listener) -> list[tuple[str | None, str | None]]:
    return [(one.watch, one.state) for one in listener.callbacks]


@pytest.mark.parametrize(
    "refusal",
    [
        Streamed(status=204),
        Streamed(status=501),
        Streamed(status=405),
        Streamed(status=404),
        Streamed(status=403),
        Streamed(status=400, body=b"this response can no longer be streamed"),
        Streamed(status=429, body=b'{"code": "too_many_streams"}'),
        Streamed(status=429, body=b'{"message": "%s",\n "code": "too_many_streams"}' % (b"wait " * 400)),
    ],
    ids=lambda refusal: str(refusal.status),
)
async def test_a_stream_that_is_refused_is_polled_instead(tmp_path: Path, refusal: Streamed) -> None:
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, preset=FULL, twin=TWIN) as (made, feed),
    ):
        upstream.stream("1", refusal)
        upstream.script("1", state("new"), state("new"), state("busy"), state("ok"))
        with capture_logs() as logs:
            await made.want("1")
            await listener.wait(3)
            await until(lambda: len(feed) == 0)
        assert words(listener) == [("1", "new"), ("1", "busy"), ("1", "ok")]
        assert (upstream.streamed("1"), upstream.count("1")) == (1, 4)
        assert [entry["event"] for entry in logs if entry["event"].startswith("source.")] == ["source.polls_instead"]
        assert feed.open == 0


@pytest.mark.parametrize("trouble", [Streamed(status=503), Streamed(status=429), Streamed(status=408)])
async def test_a_trouble_that_passes_is_waited_out(tmp_path: Path, trouble: Streamed) -> None:
    """A stream there is; the twin is not asked."""
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, preset=FULL, twin=TWIN) as (made, _),
    ):
        upstream.stream("1", trouble, trouble, trouble, trouble, Streamed(parts=[told("busy"), told("ok")]))
        await made.want("1")
        await listener.wait(2)
        assert (upstream.streamed("1"), upstream.count("1")) == (5, 0)


async def test_streams_that_end_early_again_and_again_are_given_up(tmp_path: Path) -> None:
    """One that ends after news is worth another; what was told before the switch is not told again."""
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, twin=TWIN, backoff_max=5.0) as (made, _),
    ):
        upstream.stream(
            "1",
            Streamed(parts=[told("new")]),
            Streamed(parts=[told("new"), told("busy")]),
            Streamed(parts=[told("busy")]),
        )
        upstream.script("1", state("busy"), state("busy"), state("ok"))
        await made.want("1")
        await listener.wait(3)
        assert words(listener) == [("1", "new"), ("1", "busy"), ("1", "ok")]
        assert upstream.streamed("1") == 4
        assert upstream.count("1") == 3


@pytest.mark.parametrize("name", ["text/html", "application/json", "text/event-stream", "application/octet-stream"])
async def test_a_page_in_the_place_of_each_stream_is_given_up(tmp_path: Path, name: str) -> None:
    """A gateway that lacks the route may answer with its front page; once it is a matter of maintenance."""
    page = Streamed(parts=[b"<html>"], headers={"Content-Type": name})
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, twin=TWIN, backoff_max=5.0) as (made, _),
    ):
        for task in ("once", "each"):
            upstream.script(task, state("busy"), state("ok"))
        upstream.stream("once", page, Streamed(parts=[told("new"), told("ok")]))
        upstream.stream("each", page)
        await made.want("once", "each")
        await listener.wait(4)
        assert {word for word in words(listener) if word[0] == "once"} == {("once", "new"), ("once", "ok")}
        assert (upstream.count("once"), upstream.count("each")) == (0, 2)
        assert upstream.streamed("each") == 3


async def test_changes_around_the_switch_are_told(tmp_path: Path) -> None:
    """The stream breaks after one state, and the twin is first asked when the task has moved on."""
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, twin=TWIN) as (made, _),
    ):
        upstream.stream("1", Streamed(parts=[told("new")]), Streamed(status=501))
        upstream.script("1", state("busy"), state("bad"))
        await made.want("1")
        await listener.wait(3)
        assert words(listener) == [("1", "new"), ("1", "busy"), ("1", "bad")]


async def test_a_task_that_is_not_known_yet_gets_its_stream_once_it_is(tmp_path: Path) -> None:
    """Both routes answer 404 for it; and one that never is known is lost after its grace."""
    async with (
        StreamedUpstream([Answer(status=404)]) as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, twin=TWIN, not_found_grace=1.0) as (made, _),
    ):
        upstream.stream("1", Streamed(status=404), Streamed(parts=[told("busy"), told("ok")]))
        await made.want("1", "2")
        await listener.wait(3)
        ends = {one.watch: one.type for one in listener.callbacks}
        assert ends == {"1": "task.succeeded", "2": "watch.lost"}
        assert (upstream.streamed("1"), upstream.count("1")) == (2, 1)


async def test_a_restart_and_a_reload_try_the_stream_again(tmp_path: Path) -> None:
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, twin=TWIN | {"poll": {"interval": "1h", "max_interval": "1h"}}) as (
            made,
            feed,
        ),
    ):
        upstream.stream("1", Streamed(status=501))
        await made.want("1")
        await listener.wait(1)
        await until(lambda: upstream.in_flight == 0)
        upstream.stream("1", Streamed(parts=[told("ok")]))
        feed.update(quick(poll=Poll(interval="1h", max_interval="1h")), reopen=False, hurry=True)
        await listener.wait(2)
        assert words(listener) == [("1", "busy"), ("1", "ok")]


async def test_the_twin_fetches_the_result_by_its_own_description(tmp_path: Path) -> None:
    result = {"result_request": {"url": "{base_url}/files/{id}", "result": "url"}}
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, twin=result) as (made, _),
    ):
        upstream.stream("1", Streamed(status=204))
        upstream.script("1", state("ok"), Answer(body={"url": "https://h/v.mp4"}))
        await made.want("1")
        [callback] = await listener.wait(1)
        assert b'"urls":["https://h/v.mp4"]' in callback.body
        assert [asked.path for asked in upstream.requests] == ["/jobs/1", "/files/1"]
