"""The result of a task that takes a request after its success: it has its own turns, retries and patience."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from parts import data, quick, rig, webhook
from polled_upstream import Answer, PolledUpstream, state
from streamed_upstream import Streamed, StreamedUpstream, streaming, told
from structlog.testing import capture_logs
from test_polling import FIELDS, polling
from waits import NOTICED, until

from notifier.core.callback import CallbackPolicy
from notifier.core.model import NONE, Observation
from notifier.sources.archive import Archive, ArchiveSettings
from notifier.sources.kept_file import Directory
from notifier.sources.poll import PollSource
from notifier.sources.preset import Preset
from notifier.tools.listener import Listener

RESULT: dict[str, Any] = {"result_request": {"url": "{base_url}/files/{id}", "result": "url"}, "result_lifetime": "1h"}
DONE = Streamed(parts=[told("busy"), told("ok")])
FILE = Answer(body={"url": "https://h/v.mp4"})


def archive(tmp_path: Path) -> Archive:
    """Return one below `tmp_path` that fetches from this machine."""
    policy = CallbackPolicy(allow_networks=[ip_network("127.0.0.0/8")])
    return Archive(
        ArchiveSettings(
            place=Directory(tmp_path / "kept"),
            max_bytes=1 << 20,
            timeout=60.0,
            allow_http=True,
            policy=policy,
            user_agent="test",
        )
    )


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
        streaming(tmp_path, upstream, listener, preset=RESULT, max_streams=1, requests=1, result_timeout=NOTICED) as (
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
    fields = RESULT | {"url": "{base_url}/jobs/{id}/state"}
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, fields=fields, max_streams=1, result_timeout=NOTICED) as (made, _),
    ):
        upstream.script("state", state("ok"))
        upstream.script("1", Answer(status=500))
        upstream.script("2", FILE)
        await made.want("1", "2")
        first, second = await listener.wait(2)
        assert (first.watch, second.watch) == ("2", "1")


@pytest.mark.parametrize("asks", [False, True], ids=["named", "fetched"])
async def test_results_that_are_archived_hold_no_place(tmp_path: Path, asks: bool) -> None:
    """With one place for polls, another task ends while a result is on its way to the disk."""
    gate = asyncio.Event()
    named: dict[str, Any] = {"paths": {"state": "status", "result": "url"}}
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, fields=RESULT if asks else named, max_streams=1) as (made, feed),
    ):
        made.recorder.archive = archive(tmp_path)
        film = {"url": f"{upstream.url}/film.mp4"}
        upstream.script("film.mp4", Answer(body=b"film", gate=gate))
        upstream.script("1", state("ok", **film), Answer(body=film))
        upstream.script("2", state("busy"), state("bad"))
        await made.want("1")
        await upstream.asked("film.mp4", 1)
        await made.want("2")
        await listener.wait(2)
        assert [one.watch for one in listener.callbacks] == ["2", "2"]
        gate.set()
        *_, done = await listener.wait(3)
        assert data(done)["result"]["archived"][0]["bytes"] == 4
        await until(lambda: len(feed) == 0)
        made.recorder.archive.retire()


async def test_requests_for_results_keep_to_the_rate_of_the_source(tmp_path: Path) -> None:
    """Streams and results together: results on top of the streams would take no more time than these alone."""
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
        # A tenth of a second's streams may start at once (`admission.RAMP`); a busy machine is late.
        assert times[-1] - times[0] > 0.7 * (80 - 3) / 30


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
            feed.drop(next(watch.pk for watch in feed.followed.watches()))
            gate.set()
            await until(lambda: upstream.in_flight == 0)
            await until(lambda: not [t for t in asyncio.all_tasks() if t.get_name() == "watch vidu/1"])
        assert not logs
        assert not listener.callbacks


class Raising(PollSource):
    """Raises what no source may, whenever it is asked for a result."""

    async def result(self, task_id: str, success: Observation, *, variables: Mapping[str, str] = NONE) -> Observation:
        raise KeyError("a fault of ours")


async def test_a_fault_of_ours_in_the_request_for_a_result_ends_with_the_patience_for_it(tmp_path: Path) -> None:
    """The completion goes out without the result: the task has ended."""
    async with PolledUpstream() as upstream, Listener() as listener, rig(tmp_path) as made:
        preset = Preset.model_validate(FIELDS | RESULT | {"base_url": upstream.url, "poll": {"interval": "50ms"}})
        upstream.script("1", state("ok"))
        made.set_endpoints({"app": webhook(listener.url)})
        source = made.polled(preset, Raising, result_timeout=1.0)
        made.watcher.set_feeds({"vidu": made.feed(source, quick(poll=preset.poll))})
        with capture_logs() as logs:
            await made.want("1")
            [callback] = await listener.wait(1)
        assert data(callback)["result_error"] == "an internal error; see the log"
        assert {entry["event"] for entry in logs if entry["log_level"] == "error"} == {"watch.failed"}
