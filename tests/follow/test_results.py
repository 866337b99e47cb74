"""The result of a task that takes a request after its success: it has its own turns, retries and patience."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from parts import data, quick
from polled_upstream import Answer, state
from streamed_upstream import Streamed, StreamedUpstream, streaming, told
from structlog.testing import capture_logs
from test_polling import polling
from waits import until

from notifier.tools.listener import Listener

RESULT: dict[str, Any] = {"result_request": {"url": "{base_url}/files/{id}", "result": "url"}, "result_lifetime": "1h"}
DONE = Streamed(parts=[told("busy"), told("ok")])
FILE = Answer(body={"url": "https://h/v.mp4"})


async def test_a_result_is_fetched_after_a_stream_too(tmp_path: Path) -> None:
    """The completion waits for it, through refusals, and says how long its URLs live."""
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, preset=RESULT) as (made, feed),
    ):
        upstream.stream("1", DONE)
        upstream.script("1", Answer(status=503), FILE)
        await made.want("1")
        busy, done = await listener.wait(2)
        assert (busy.state, done.state) == ("busy", "ok")
        assert data(done)["result"]["urls"] == ["https://h/v.mp4"]
        assert data(done)["result"]["expires_at"] > json.loads(done.body)["timestamp"]
        assert data(done)["task"] == {"status": "ok"}
        assert upstream.streamed("1") == 1
        [first, second] = [asked for asked in upstream.requests if asked.path == "/files/1"]
        assert first.headers["Accept"] == second.headers["Accept"] == "application/json"
        assert first.headers["Authorization"] == "Bearer tok"
        await until(lambda: len(feed) == 0)


async def test_a_result_that_does_not_come_holds_neither_a_stream_nor_a_polls_place(tmp_path: Path) -> None:
    """With one place of each, another task goes on meanwhile; then the completion says why there is no result."""
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, preset=RESULT, max_streams=1, requests=1, result_timeout=1.0) as (
            made,
            _,
        ),
    ):
        upstream.stream("1", DONE)
        upstream.script("1", Answer(status=404))
        upstream.stream("2", DONE)
        upstream.script("2", FILE)
        await made.want("1", "2")
        await listener.wait(4)
        ends = {one.watch: data(one) for one in listener.callbacks if one.state == "ok"}
        assert ends["1"]["result"] is None
        assert "404" in ends["1"]["result_error"]
        assert ends["2"]["result"]["urls"] == ["https://h/v.mp4"]
        assert [one.watch for one in listener.callbacks][-1] == "1"


async def test_a_polled_task_whose_result_does_not_come_holds_no_place(tmp_path: Path) -> None:
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, fields=RESULT | {"url": "{base_url}/jobs/{id}/state"}, max_streams=1) as (
            made,
            _,
        ),
    ):
        upstream.script("state", state("ok"))
        upstream.script("1", Answer(status=500))
        upstream.script("2", FILE)
        await made.want("1", "2")
        first, second = await listener.wait(2)
        assert (first.watch, second.watch) == ("2", "1")


async def test_requests_for_results_keep_to_the_rate_of_the_source(tmp_path: Path) -> None:
    """Streams and results together, in every second."""
    async with (
        StreamedUpstream([FILE]) as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, preset=RESULT, connect_rate=30.0) as (made, _),
    ):
        ids = list(map(str, range(40)))
        for task in ids:
            upstream.stream(task, Streamed(parts=[told("ok")]))
        await made.want(*ids)
        await listener.wait(40)
        times = sorted(asked.at for asked in [*upstream.streams, *upstream.requests])
        assert len(times) == 80
        # A tenth of a second's streams may start at once (`admission.RAMP`).
        assert all(later - earlier > 1.0 for earlier, later in zip(times, times[30 + 3 :], strict=False))


async def test_a_reload_that_changes_the_description_asks_for_the_state_anew(tmp_path: Path) -> None:
    """A success of the old description is none of the new one's."""
    gate = asyncio.Event()
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, preset=RESULT) as (made, feed),
    ):
        upstream.stream("1", Streamed(parts=[told("ok")]), Streamed(parts=[told("bad")]))
        upstream.script("1", Answer(body={"url": "https://h/old.mp4"}, gate=gate))
        await made.want("1")
        await upstream.asked("1", 1)
        feed.update(quick(), reopen=True, hurry=True)
        gate.set()
        [callback] = await listener.wait(1)
        assert (callback.state, data(callback)["result"]) == ("bad", None)


async def test_a_watch_that_is_dropped_is_not_asked_for(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, preset=RESULT) as (made, feed),
    ):
        upstream.stream("1", Streamed(parts=[told("ok")]))
        upstream.script("1", Answer(body={"url": "https://h/v.mp4"}, gate=gate))
        await made.want("1")
        await upstream.asked("1", 1)
        with capture_logs() as logs:
            feed.drop(next(watch.pk for watch in feed.watches()))
            gate.set()
            await until(lambda: upstream.in_flight == 0)
            await until(lambda: not [t for t in asyncio.all_tasks() if t.get_name() == "watch vidu/1"])
        assert not logs
        assert not listener.callbacks
