"""A stream that was cut goes on behind its place: an event's id, or a cursor in the data, within the resume window."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from parts import Rig, quick, rig, webhook
from polled_upstream import state
from served import served
from streamed_upstream import Streamed, StreamedUpstream, streaming, told
from waits import until

from notifier.sources.plan import SourceSettings
from notifier.sources.preset import Preset, load, raw
from notifier.sources.sse import SseSource
from notifier.tools.listener import Listener

CURSOR: dict[str, Any] = {
    "cursor": {"path": "seq", "parameter": "after"},
    "url": "{base_url}/jobs/{id}/stream?stream=true",
    "state_events": ["message"],
}


def query(path: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(path).query)


async def test_a_cursor_is_sent_back_in_the_url(tmp_path: Path) -> None:
    """That of the last event, also of one without a state; no Last-Event-ID beside it."""
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, preset=CURSOR) as (made, _),
    ):
        first = [told("new", seq=0), told("busy", seq=1, id="x"), told("-", seq=7, event="delta")]
        upstream.stream("1", Streamed(parts=first), Streamed(parts=[told("ok", seq=8)]))
        await made.want("1")
        await listener.wait(3)
        assert [one.state for one in listener.callbacks] == ["new", "busy", "ok"]
        assert [query(asked.path) for asked in upstream.streams] == [
            {"stream": ["true"]},
            {"stream": ["true"], "after": ["7"]},
        ]
        assert "Last-Event-ID" not in upstream.streams[1].headers


async def test_a_cursor_outlives_a_restart(tmp_path: Path) -> None:
    """It is kept with the watch: that of the event that brought the last change."""
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, preset=CURSOR) as (made, _),
    ):
        upstream.stream("1", Streamed(parts=[told("busy", seq=4), told("-", seq=9, event="delta")], hold=True))
        await made.want("1")
        await listener.wait(1)
        assert made.rows("SELECT last_event_id FROM watches") == [("4",)]


@pytest.mark.parametrize("twin", [None, {}], ids=["anew", "polls"])
async def test_behind_the_window_a_stream_begins_anew_or_is_polled(tmp_path: Path, twin: dict[str, Any] | None) -> None:
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, preset=CURSOR, twin=twin, resume_window=0.0) as (made, _),
    ):
        upstream.stream("1", Streamed(parts=[told("busy", seq=3)]), Streamed(parts=[told("busy", seq=3), told("ok")]))
        upstream.script("1", state("ok"))
        await made.want("1")
        await listener.wait(2)
        assert [one.state for one in listener.callbacks] == ["busy", "ok"]
        assert upstream.streamed("1") == (2 if twin is None else 1)
        assert upstream.count("1") == (0 if twin is None else 1)
        assert all("after" not in query(asked.path) for asked in upstream.streams)


async def test_within_the_window_it_is_resumed(tmp_path: Path) -> None:
    async with (
        StreamedUpstream() as upstream,
        Listener() as listener,
        streaming(tmp_path, upstream, listener, preset=CURSOR, twin={}, resume_window=3600.0) as (made, _),
    ):
        upstream.stream("1", Streamed(parts=[told("busy", seq=3)]), Streamed(parts=[told("ok", seq=4)]))
        await made.want("1")
        await listener.wait(2)
        assert query(upstream.streams[1].path)["after"] == ["3"]
        assert upstream.count("1") == 0


class Hedra:
    """Speaks Hedra's stream: ids, resume by Last-Event-ID, logs, keep-alives, and `done`. It is cut once."""

    EVENTS = (
        ("status", {"job_id": "1", "status": "IN_QUEUE", "progress": None}),
        ("log", {"id": 2, "event": "started", "message": "status: FAILED"}),
        ("status", {"job_id": "1", "status": "IN_PROGRESS", "progress": 0.4}),
        ("log", {"id": 4, "event": "step", "message": "..."}),
        ("status", {"job_id": "1", "status": "COMPLETED", "progress": 1}),
    )

    def __init__(self, cut: int) -> None:
        self.cut = cut  # events before the first connection is cut
        self.asked: list[str | None] = []

    async def stream(self, request: web.Request) -> web.StreamResponse:
        last = request.headers.get("Last-Event-ID")
        self.asked.append(last)
        end = self.cut if len(self.asked) == 1 else len(self.EVENTS)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, (name, content) in enumerate(self.EVENTS[:end], start=1):
            if last is None or number > int(last):
                await response.write(b": keep-alive\n\n")
                text = f"event: {name}\nid: {number}\ndata: {json.dumps(content)}\n\n"
                await response.write(text.encode())
        if end == len(self.EVENTS):
            await response.write(b"event: done\ndata: [STREAM_DONE]\n\n")
        elif request.transport is not None:
            request.transport.abort()
        return response

    async def job(self, _: web.Request) -> web.Response:
        return web.json_response({"id": "1", "outputs": [{"url": "https://h/v.mp4"}]})


def source_of(made: Rig, name: str, base: str, **more: Any) -> SseSource:
    """Create the source of a built-in preset."""
    preset = Preset.model_validate(raw(name) | {"base_url": base} | more)
    source = SseSource(
        name="vidu",
        settings=SourceSettings(preset=preset, token="tok", connect_timeout=10.0),
        max_streams=10,
        user_agent="test",
        metrics=made.metrics,
    )
    made.sources.append(source)
    return source


@pytest.mark.parametrize("cut", range(6))
async def test_hedras_stream_is_resumed_after_a_cut_at_every_event(tmp_path: Path, cut: int) -> None:
    """Each change is told once, whichever event was the last; the result is fetched."""
    hedra = Hedra(cut)
    app = web.Application()
    app.router.add_get("/v3/jobs/1/stream", hedra.stream)
    app.router.add_get("/v3/jobs/1", hedra.job)
    async with served(app) as url, Listener() as listener, rig(tmp_path) as made:
        made.set_endpoints({"app": webhook(listener.url)})
        made.watcher.set_feeds({"vidu": made.feed(source_of(made, "hedra-stream", url))})
        await made.want("1")
        *_, done = await listener.wait(3)
        assert [one.state for one in listener.callbacks] == ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
        assert b"https://h/v.mp4" in done.body
        if cut < 5:
            assert hedra.asked == [None, str(cut) if cut else None]


async def test_fals_pings_keep_its_stream_open_and_its_end_is_the_end(tmp_path: Path) -> None:
    """A comment is activity; after COMPLETED the media come from another request."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"status": "IN_QUEUE", "request_id": "1", "queue_position": 3}\n\n')
        for _ in range(20):
            await response.write(b": ping\n\n")
            await pinged()
        await response.write(b'data: {"status": "IN_PROGRESS", "request_id": "1", "logs": []}\n\n')
        await response.write(b'data: {"status": "COMPLETED", "request_id": "1", "logs": []}\n\n')
        return response

    async def pinged() -> None:
        [followed] = made.watcher.feeds["vidu"].followed.watches()
        subscription = made.watcher.subscription("vidu", followed.pk)
        assert subscription is not None
        before = subscription.stream.last_activity if subscription.stream else 0.0
        await until(lambda: subscription.stream is None or subscription.stream.last_activity >= before)

    async def result(_: web.Request) -> web.Response:
        return web.json_response({"video": {"url": "https://h/v.mp4"}})

    app = web.Application()
    app.router.add_get("/fal-ai/pika/requests/1/status/stream", stream)
    app.router.add_get("/fal-ai/pika/requests/1", result)
    async with served(app) as url, Listener() as listener, rig(tmp_path) as made:
        made.set_endpoints({"app": webhook(listener.url)})
        source = source_of(made, "fal-stream", url)
        made.watcher.set_feeds({"vidu": made.feed(source, quick(idle_timeout=5.0))})
        await made.want("1", variables={"owner": "fal-ai", "app": "pika"})
        *_, done = await listener.wait(3)
        assert [one.state for one in listener.callbacks] == ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
        assert b"https://h/v.mp4" in done.body
        assert made.connects("open") == 1


async def test_a_stream_that_is_over_leaves_no_connection(tmp_path: Path) -> None:
    """It is read to its end, and its connection could serve another request; but no other stream would use it."""
    used: set[asyncio.BaseTransport] = set()

    async def stream(request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            used.add(request.transport)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(told("ok"))
        return response

    app = web.Application()
    app.router.add_get("/jobs/{id}/stream", stream)
    async with served(app) as url, Listener() as listener, rig(tmp_path) as made:
        made.set_endpoints({"app": webhook(listener.url)})
        preset = {
            "url": "{base_url}/jobs/{id}/stream",
            "paths": {"state": "status"},
            "states": {"succeeded": ["ok"]},
        }
        source = source_of(made, "generic", url, **preset)
        made.watcher.set_feeds({"vidu": made.feed(source)})
        await made.want("1", "2", "3")
        await listener.wait(3)
        await until(lambda: len(made.watcher.feeds["vidu"]) == 0)
        assert source._pool.idle_routes == 0
        await until(lambda: all(transport.is_closing() for transport in used))
        assert len(used) == 3


def test_the_streams_of_presets_are_described() -> None:
    """Each has its twin; OpenAI's cursor and window are those of its documentation."""
    twins = {name: load(name).poll_twin for name in ("hedra-stream", "fal-stream", "comfy-stream")}
    assert twins == {"hedra-stream": "hedra", "fal-stream": "fal", "comfy-stream": "comfy"}
    response = load("openai-response-stream")
    assert (response.poll_twin, response.resume_window) == ("openai-response", 300.0)
    assert response.cursor is not None
    assert (response.cursor.path, response.cursor.parameter) == ("sequence_number", "starting_after")
