"""What the answer to a poll may hold and ask for: its size, the pause that it asks for, words that hold credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from batch_upstream import BatchUpstream
from polled_upstream import Answer, PolledUpstream
from structlog.testing import capture_logs

from notifier.core.errors import TaskNotFound, Unavailable, Unreadable
from notifier.core.model import Observation, Phase
from notifier.runtime.metrics import Metrics
from notifier.sources.plan import SourceSettings
from notifier.sources.poll import ALONE, MAX_BATCH, PollSource
from notifier.sources.preset import Preset
from notifier.sources.snapshot import SnapshotReader

TOKEN = "a-token-of-ours"
FIELDS: dict[str, Any] = {
    "transport": "poll",
    "url": "{base_url}/jobs/{id}",
    "paths": {"state": "status", "task_id": "id", "result": "url", "question_message": "message"},
    "states": {"running": ["busy"], "succeeded": ["ok"], "failed": ["bad"]},
    "poll": {"hint": "x-poll-after-ms"},
    "batch": {"url": "{base_url}/batch"},
    "not_found": [{"status": 400, "path": "code", "values": ["unknown"]}],
    "result_request": {"url": "{base_url}/files/{id}", "result": "url", "expires": "until"},
}


@asynccontextmanager
async def asking(url: str, *, now: Callable[[], float] = lambda: 0.0, **settings: Any) -> AsyncIterator[PollSource]:
    """Create a source of an upstream."""
    preset = Preset.model_validate(FIELDS | {"base_url": url})
    settings = {"token": TOKEN, "connect_timeout": 30.0, **settings}
    source = PollSource(
        name="mine",
        settings=SourceSettings(preset=preset, **settings),
        user_agent="test",
        metrics=Metrics(),
        now=now,
    )
    try:
        yield source
    finally:
        await source.close()


def listed(states: dict[str, str], **more: Any) -> list[dict[str, Any]]:
    return [{"id": task, "status": state, **more} for task, state in states.items()]


async def test_an_answer_with_an_image_is_read_where_max_event_allows_and_refused_with_the_reason() -> None:
    """Five million bytes; the limit stands in the message, and what may be done about it."""
    async with PolledUpstream() as upstream:
        upstream.script("1", Answer(body={"id": "1", "status": "busy", "image": "x" * 5_000_000}))
        async with asking(upstream.url, max_event=16 << 20) as source:
            answer = await source.look("1")
            assert answer.observation is not None
            assert answer.observation.phase is Phase.RUNNING
        async with asking(upstream.url, max_event=1 << 20) as source:
            with pytest.raises(Unreadable, match="more than 1048576 bytes; max_event may allow more"):
                await source.look("1")


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        ("text/html", b"<h1>Back soon</h1>", Unavailable),
        ("text/html", b"", Unavailable),
        ("application/json", b" \n", Unreadable),
        ("application/json", b"\xef\xbb\xbf<html>", Unavailable),
        ("text/plain", b"Service temporarily unavailable", Unavailable),
        ("", b"Service temporarily unavailable", Unavailable),
        ("text/plain", b'{"status": }', Unreadable),
        ("application/json", b"busy", Unreadable),
    ],
)
async def test_a_page_for_people_says_nothing_of_the_task(kind: str, body: bytes, error: type[Exception]) -> None:
    """A gateway's maintenance page with status 200 is waited out like 503, whatever it calls itself."""
    async with PolledUpstream() as upstream, asking(upstream.url) as source:
        upstream.script("1", Answer(body=body, headers={"Content-Type": kind}))
        with pytest.raises(error):
            await source.look("1")


async def test_a_snapshot_is_read_whatever_its_content_type() -> None:
    """As long as it is JSON."""
    async with PolledUpstream() as upstream, asking(upstream.url) as source:
        upstream.script("1", Answer(body=b'{"id": "1", "status": "busy"}', headers={"Content-Type": "text/html"}))
        assert (await source.look("1")).observation is not None


async def test_an_answer_about_many_tasks_may_be_as_large_as_theirs_together_but_is_bounded() -> None:
    """One task's limit is a kibibyte here; a hundred tasks of half of that are read, and 300 times as much is not."""
    async with BatchUpstream(lambda states: listed(states, text="x" * 500)) as upstream:
        async with asking(upstream.url, max_event=1 << 10) as source:
            ids = [str(number) for number in range(100)]
            assert len((await source.look_at(ids)).found) == 100
            upstream.shape = lambda states: listed(states, text="x" * 2000)
            with pytest.raises(Unreadable, match=f"more than {100 << 10} bytes; max_event may allow more"):
                await source.look_at(ids)
        upstream.shape = lambda _: "x" * (MAX_BATCH + 1)
        async with asking(upstream.url, max_event=1 << 20) as source:
            with pytest.raises(Unreadable, match=f"more than {MAX_BATCH} bytes"):
                await source.look_at(ids)


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"X-Poll-After-MS": "1500"}, 1.5),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "1", "X-Poll-After-Ms": "2500"}, 2.5),
        ({"X-Poll-After-MS": "soon"}, None),
        ({}, None),
    ],
)
async def test_a_refusal_says_when_to_ask_again_by_the_providers_own_header_too(
    headers: dict[str, str], pause: float | None
) -> None:
    """For one task, for its result and for several tasks; beside their states as well."""
    async with PolledUpstream() as upstream, asking(upstream.url) as source:
        upstream.script("1", Answer(status=429, headers=headers))
        with pytest.raises(Unavailable) as caught:
            await source.look("1")
        assert caught.value.retry_after == pause
        with pytest.raises(Unavailable) as caught:
            await source.result("1", Observation(state="ok", phase=Phase.SUCCEEDED))
        assert caught.value.retry_after == pause
    async with BatchUpstream(listed) as several, asking(several.url) as source:
        several.reply_headers = headers
        answers = await source.look_at(["1", "2"])
        assert (len(answers.found), answers.hint) == (2, pause)
        several.status = 503
        with pytest.raises(Unavailable) as caught:
            await source.look_at(["1", "2"])
        assert caught.value.retry_after == pause


async def test_words_of_the_provider_about_a_task_that_it_does_not_know_hold_no_credential() -> None:
    """They are told with `watch.lost`."""
    async with PolledUpstream() as upstream, asking(upstream.url) as source:
        body = {"code": "unknown", "message": f"no task of Bearer {TOKEN}"}
        upstream.script("1", Answer(status=400, body=body))
        with pytest.raises(TaskNotFound, match="no task of") as caught:
            await source.look("1")
        assert TOKEN not in str(caught.value)


async def test_the_request_for_several_tasks_is_tried_again_after_a_while_and_after_a_reload() -> None:
    """The upstream may have learned it, or be another; the log says once that it does not know it."""
    now = [0.0]
    async with BatchUpstream(listed) as upstream, asking(upstream.url, now=lambda: now[0]) as source:
        assert source.batch == 500
        upstream.status = 404
        with capture_logs() as logs:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await source.look_at(["1", "2"])
                assert source.batch == 1
                now[0] += ALONE - 1
                assert source.batch == 1
                now[0] += 1
                assert source.batch == 500
        assert [entry["event"] for entry in logs] == ["source.no_batch"]
        with pytest.raises(Unavailable):
            await source.look_at(["1", "2"])
        assert source.batch == 1
        source.update(source.settings)
        assert source.batch == 500


async def test_a_result_says_when_its_urls_expire() -> None:
    """By the answer to the request for it; where that says nothing, what the state's answer said stays."""
    success = Observation(state="ok", phase=Phase.SUCCEEDED, urls_expire=1_800_000_000.0)
    async with PolledUpstream() as upstream, asking(upstream.url) as source:
        upstream.script("1", Answer(body={"url": "https://h/v", "until": "2026-08-11T00:00:00Z"}))
        assert (await source.result("1", success)).urls_expire == 1_786_406_400
        upstream.script("1", Answer(body={"url": "https://h/v"}))
        assert (await source.result("1", success)).urls_expire == 1_800_000_000


async def test_a_stream_in_place_of_a_result_is_told_as_such() -> None:
    success = Observation(state="ok", phase=Phase.SUCCEEDED)
    async with PolledUpstream() as upstream, asking(upstream.url) as source:
        upstream.script("1", Answer(body=b"data: {}\n\n", headers={"Content-Type": "text/event-stream"}))
        with pytest.raises(Unreadable, match="answers with an event stream, where one reply in JSON was asked for"):
            await source.result("1", success)


def test_an_error_about_one_task_does_not_hold_the_reply_about_all() -> None:
    """It is kept until the task's turn, and the reply may have 16 MiB."""
    reader = SnapshotReader(source="mine", preset=Preset.model_validate(FIELDS | {"base_url": "http://a.example"}))
    found = reader.read_batch(b'[{"id": "1"}, {"id": "2", "status": "busy"}]', frozenset({"1", "2"}))
    error = found["1"]
    assert isinstance(error, Unreadable)
    assert error.__traceback__ is None
