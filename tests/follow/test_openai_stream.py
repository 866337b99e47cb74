"""OpenAI's background responses by the preset as it is: the cursor, the time in which it works, and the polls after."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from parts import Rig, clock, quick, rig, states, webhook
from served import served
from waits import until

from notifier.core.model import NewWatch
from notifier.follow.feed import Feed
from notifier.sources import preset as presets
from notifier.sources.plan import SourceSettings
from notifier.sources.sse import SseSource
from notifier.tools.listener import Listener

MINUTES = 60_000_000  # of microseconds
TOO_OLD = "This response can no longer be streamed because it is more than 5 minutes old."


def event(name: str, number: int, status: str | None = None, **more: Any) -> bytes:
    """Return an event as the provider writes it; deltas have no response."""
    data: dict[str, Any] = {"type": name, "sequence_number": number, **more}
    if status is not None:
        data["response"] = {"id": "resp_1", "status": status, "error": None, "output": []}
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


class Responses:
    """Serves one response: its stream, one connection after another, and its state to polls."""

    def __init__(self) -> None:
        self.streams: deque[Sequence[bytes] | web.Response] = deque()
        self.polled = "in_progress"
        self.asked: list[str] = []  # paths with their queries
        self.url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Responses]:
        """Serve."""
        app = web.Application()
        app.router.add_get("/v1/responses/resp_1", self._answer)
        async with served(app) as self.url:
            yield self

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        if "stream" not in request.query:
            return web.json_response({"id": "resp_1", "status": self.polled, "error": None, "output": []})
        parts = self.streams.popleft()
        if isinstance(parts, web.Response):
            return parts
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
        return response


@asynccontextmanager
async def following(
    tmp_path: Path, upstream: Responses, listener: Listener, **more: Any
) -> AsyncIterator[tuple[Rig, Feed]]:
    """Follow by the preset and its twin; only the address is another, and the interval shorter."""
    described, polled = (presets.load(name) for name in ("openai-response-stream", "openai-response"))
    assert described.poll_twin == "openai-response"
    assert described.max_event is not None
    described = described.model_copy(update={"base_url": upstream.url})
    poll = polled.poll.model_copy(update={"interval": 0.05, "max_interval": 0.05})
    polled = polled.model_copy(update={"base_url": upstream.url, "poll": poll})
    common: dict[str, Any] = {"token": "tok", "connect_timeout": 30.0, "max_event": described.max_event} | more
    async with rig(tmp_path) as made:
        source = SseSource(
            name="vidu",
            settings=SourceSettings(preset=described, twin=SourceSettings(preset=polled, **common), **common),
            max_streams=100,
            user_agent="test",
            metrics=made.metrics,
        )
        made.sources.append(source)
        made.set_endpoints({"app": webhook(listener.url)})
        # A stream that ends within a minute has ended early, however slow this machine is.
        policy = quick(poll=poll, resume_window=described.resume_window, request_rate=5000.0, backoff_max=60.0)
        feed = made.feed(source, policy)
        made.watcher.set_feeds({"vidu": feed})
        yield made, feed


async def test_a_stream_that_was_cut_goes_on_behind_its_last_event_and_is_polled_once_it_is_too_old(
    tmp_path: Path,
) -> None:
    """Behind a delta, too, which carries no state; the refusal says nothing of the task."""
    upstream = Responses()
    upstream.streams.extend(
        (
            [event("response.queued", 0, "queued")],
            [event("response.in_progress", 1, "in_progress"), event("response.output_text.delta", 2, delta="Once")],
            web.json_response({"error": {"message": TOO_OLD, "type": "invalid_request_error"}}, status=400),
        )
    )
    async with upstream.serving(), Listener() as listener, following(tmp_path, upstream, listener) as (made, feed):
        await made.want("resp_1")
        await until(lambda: len(upstream.asked) >= 5)
        upstream.polled = "completed"
        await listener.wait(3)
        await until(lambda: len(feed) == 0)
    path = "/v1/responses/resp_1"
    assert upstream.asked[:3] == [
        f"{path}?stream=true",
        f"{path}?stream=true&starting_after=0",
        f"{path}?stream=true&starting_after=2",
    ]
    assert set(upstream.asked[3:]) == {path}
    assert states(listener.callbacks, "resp_1") == ["queued", "in_progress", "completed"]


async def test_a_response_older_than_the_window_is_polled_after_its_stream_ends(tmp_path: Path) -> None:
    """No cursor is sent that the provider would refuse."""
    upstream = Responses()
    upstream.streams.append([event("response.in_progress", 7, "in_progress")])
    async with upstream.serving(), Listener() as listener, following(tmp_path, upstream, listener) as (made, feed):
        wanted = NewWatch(source="vidu", id="resp_1")
        await made.store.watches.apply([wanted], origin="api", now=clock() - 6 * MINUTES)
        made.watcher.wake()
        await until(lambda: len(upstream.asked) >= 3)
        upstream.polled = "completed"
        await listener.wait(2)
        await until(lambda: len(feed) == 0)
    assert upstream.asked[0] == "/v1/responses/resp_1?stream=true"
    assert set(upstream.asked[1:]) == {"/v1/responses/resp_1"}
    assert states(listener.callbacks, "resp_1") == ["in_progress", "completed"]


async def test_an_event_with_an_image_of_five_megabytes_arrives_and_is_refused_where_max_event_is_smaller(
    tmp_path: Path,
) -> None:
    """The preset allows 16 MiB. Where the source allows one, the reason names the key; the end comes by a poll."""
    image = "QUJD" * 1_300_000
    done = event("response.completed", 3, "completed", image=image)
    upstream = Responses()
    upstream.streams.append([event("response.queued", 0, "queued"), done])
    async with upstream.serving(), Listener() as listener, following(tmp_path, upstream, listener) as (made, _):
        await made.want("resp_1")
        await until(lambda: made.ended() == {"resp_1"})
    assert upstream.asked == ["/v1/responses/resp_1?stream=true"]
    small = Responses()
    small.streams.extend([[event("response.queued", 0, "queued"), done]] * 100)
    small.polled = "completed"
    (tmp_path / "small").mkdir()
    async with (
        small.serving(),
        Listener() as listener,
        following(tmp_path / "small", small, listener, max_event=1 << 20) as (made, feed),
    ):
        await made.want("resp_1")
        await until(lambda: "unreadable" in feed.trouble_words)
        assert "max_event may allow more" in feed.trouble_words["unreadable"].error
        await listener.wait(2)
    assert states(listener.callbacks, "resp_1") == ["queued", "completed"]
