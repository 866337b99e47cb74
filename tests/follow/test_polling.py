"""A polled source: when each task is asked for, what its answers come to, and what one task's trouble is to others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from parts import Rig, data, quick, rig, webhook
from polled_upstream import Answer, PolledUpstream, state
from structlog.testing import capture_logs
from waits import NOTICED, PATIENCE, measured_lag, until

from notifier.follow.feed import Feed
from notifier.sources.preset import Poll, Preset
from notifier.tools.listener import Listener

DONE = state("ok")
FIELDS: dict[str, Any] = {
    "transport": "poll",
    "url": "{base_url}/jobs/{id}",
    "paths": {"state": "status", "error_message": "reason"},
    "states": {"queued": ["new"], "running": ["busy"], "succeeded": ["ok"], "failed": ["bad"]},
}


@asynccontextmanager
async def polling(
    tmp_path: Path,
    upstream: PolledUpstream,
    listener: Listener,
    *,
    timeout: float = 10.0,
    result_timeout: float = PATIENCE,
    **more: Any,
) -> AsyncIterator[tuple[Rig, Feed]]:
    """Follow an upstream by polls; `more` are the fields of `poll`, or of the feed's policy."""
    poll = {"interval": "50ms", "max_interval": "50ms", "growth": 1} | {
        key: more.pop(key) for key in ("interval", "max_interval", "growth") if key in more
    }
    fields = more.pop("fields", {})
    described = Preset.model_validate(FIELDS | {"base_url": upstream.url, "poll": poll} | fields)
    async with rig(tmp_path) as made:
        source = made.polled(described, connect_timeout=timeout, result_timeout=result_timeout)
        made.set_endpoints({"app": webhook(listener.url)})
        feed = made.feed(source, quick(**{"poll": described.poll} | more))
        made.watcher.set_feeds({"vidu": feed})
        yield made, feed


def polls(made: Rig, outcome: str) -> float:
    """Return how many polls came to that."""
    return made.metrics.registry.get_sample_value("notifier_polls_total", {"source": "vidu", "outcome": outcome}) or 0.0


async def test_a_task_is_polled_to_its_end_over_one_connection(tmp_path: Path) -> None:
    """Each change is one callback, a repeat none; the last request is the one that found the end."""
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener) as (made, feed),
    ):
        upstream.script("1", state("new"), state("new"), state("busy"), state("busy"), DONE)
        await made.want("1")
        await listener.wait(3)
        await until(lambda: len(feed) == 0)
        assert [one.state for one in listener.callbacks] == ["new", "busy", "ok"]
        assert upstream.count("1") == 5
        assert len({asked.peer for asked in upstream.requests}) == 1
        assert polls(made, "answered") == 5
        assert feed.open == 0
        assert made.connects("open") == 0  # a poll is no stream


async def test_the_interval_grows_while_nothing_changes_and_starts_afresh_with_a_change(tmp_path: Path) -> None:
    """Gaps are those of the policy; none is shorter."""
    repeats = [state("new")] * 5 + [state("busy")] * 3 + [DONE]
    policy: dict[str, Any] = {"interval": "40ms", "max_interval": "160ms", "growth": 2}
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, **policy) as (made, _),
    ):
        upstream.script("1", *repeats)
        await made.want("1")
        await listener.wait(3)
        gaps = [after - before for before, after in pairwise(upstream.times())]
        least = [0.04, 0.08, 0.16, 0.16, 0.16, 0.04, 0.08, 0.16]
        assert all(gap >= wanted * 0.99 for gap, wanted in zip(gaps, least, strict=True)), gaps


async def test_no_second_has_more_requests_than_the_rate_limit(tmp_path: Path) -> None:
    """Measured at the server, in every window of a second; and all tasks get their turn."""
    async with (
        measured_lag() as lag,
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, interval="10ms", max_interval="10ms", connect_rate=50.0) as (made, _),
    ):
        await made.want(*map(str, range(100)))
        await upstream.wait(lambda here: len(here.requests) >= 250)
        times = upstream.times()
        assert all(later - earlier > 1.0 - lag() for earlier, later in zip(times, times[50:], strict=False))
        counts = Counter(asked.task for asked in upstream.requests[:200])
        assert len(counts) == 100
        # Two requests may overtake each other on their way, where the second turn of all ends.
        assert sum(count != 2 for count in counts.values()) <= 4


async def test_no_more_requests_in_flight_than_allowed(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with (
        PolledUpstream([Answer(body={"status": "busy"}, gate=gate), DONE]) as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, max_streams=3) as (made, feed),
    ):
        await made.want(*map(str, range(10)))
        await upstream.wait(lambda here: here.in_flight == 3)
        assert feed.waiting == 7
        gate.set()
        await listener.wait(20)
        assert upstream.most_in_flight == 3


async def test_a_task_whose_requests_hang_slows_no_other(tmp_path: Path) -> None:
    """It times out by itself, and is asked for again; the others end meanwhile."""
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, timeout=NOTICED) as (made, feed),
    ):
        upstream.script("stuck", Answer(hang=True), DONE)
        await made.want("stuck")
        await upstream.asked("stuck", 1)
        for number in range(20):
            upstream.script(str(number), state("busy"), state("busy"), DONE)
        await made.want(*map(str, range(20)))
        await listener.wait(40)
        assert {one.watch for one in listener.callbacks} == set(map(str, range(20)))
        await until(lambda: len(feed) == 0)
        assert polls(made, "unavailable") == 1


async def test_retry_after_holds_for_the_task_and_after_two_tasks_for_all(tmp_path: Path) -> None:
    limited = Answer(status=429, headers={"Retry-After": "1"})
    async with PolledUpstream() as upstream, Listener() as listener, polling(tmp_path, upstream, listener) as (made, _):
        upstream.script("1", limited, DONE)
        await made.want("1")
        await listener.wait(1)
        first, second = upstream.times("1")
        assert second - first >= 1.0
        upstream.script("2", limited, DONE)
        upstream.script("3", limited, DONE)
        upstream.script("4", *[state("busy")] * 10_000)
        await made.want("4")
        await upstream.asked("4", 2)
        await made.want("2", "3")
        await listener.wait(4)
        held = upstream.times("3")[0] if upstream.times("3")[0] > upstream.times("2")[0] else upstream.times("2")[0]
        assert not [at for at in upstream.times("4") if held + 0.1 < at < held + 0.9]


@pytest.mark.parametrize(
    ("answer", "kind"),
    {
        "500": (Answer(status=500, body={"status": "ok"}), "unavailable"),
        "a page": (Answer(body=b"<html>ok</html>", headers={"Content-Type": "text/html"}), "unavailable"),
        "empty": (Answer(body=b""), "unreadable"),
        "no JSON": (Answer(body=b"ok"), "unreadable"),
        "a list": (Answer(body=[{"status": "ok"}]), "unreadable"),
        "another object": (Answer(body={"message": "ok"}), "unreadable"),
        "401": (Answer(status=401, body={"status": "bad"}), "refused"),
        "a redirect to itself": (Answer(status=302, headers={"Location": "/jobs/1"}), "unreadable"),
        "an event stream": (
            Answer(body=b'data: {"status": "ok"}\n\n', headers={"Content-Type": "text/event-stream"}),
            "unreadable",
        ),
    }.values(),
)
async def test_an_answer_that_says_nothing_of_the_task_ends_nothing_and_is_logged_once(
    tmp_path: Path, answer: Answer, kind: str
) -> None:
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener) as (made, feed),
    ):
        with capture_logs() as logs:
            upstream.script("1", state("busy"), answer)
            await made.want("1")
            await listener.wait(1)
            await until(lambda: polls(made, kind) >= 5)
            assert feed.troubles == {kind: 1}
            upstream.script("1", DONE)
            await listener.wait(2)
        assert [one.state for one in listener.callbacks] == ["busy", "ok"]
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == [f"source.{kind}"]


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "1"}, {"X-Poll-After-MS": "1000"}, {"Retry-After": "1", "X-Poll-After-MS": "10"}]
)
async def test_an_answer_that_says_when_to_ask_again_is_heeded(tmp_path: Path, headers: dict[str, str]) -> None:
    """By Retry-After beside a state, or by the header that the preset names; a shorter hint shortens no interval."""
    fields = {"poll": {"interval": "50ms", "max_interval": "50ms", "growth": 1, "hint": "x-poll-after-ms"}}
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, fields=fields) as (made, _),
    ):
        upstream.script("1", Answer(body={"status": "busy"}, headers=headers), state("busy"), DONE)
        await made.want("1")
        await listener.wait(2)
        asked = upstream.times("1")
        assert asked[1] - asked[0] >= 0.95
        assert asked[2] - asked[1] >= 0.04


async def test_a_task_that_is_not_found_is_lost_after_its_grace(tmp_path: Path) -> None:
    async with (
        PolledUpstream([Answer(status=404)]) as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, not_found_grace=0.5) as (made, feed),
    ):
        upstream.script("late", Answer(status=404), Answer(status=404), DONE)
        await made.want("late", "never")
        await listener.wait(2)
        assert {one.watch: one.type for one in listener.callbacks} == {
            "late": "task.succeeded",
            "never": "watch.lost",
        }
        await until(lambda: len(feed) == 0)


async def test_the_last_look_before_the_deadline_finds_the_end(tmp_path: Path) -> None:
    """The next poll would come much later; a task that is still busy is lost."""
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, interval="1h", max_interval="1h", deadline=1.0) as (made, _),
    ):
        upstream.script("done", state("busy"), DONE)
        await made.want("done", "busy")
        await listener.wait(4)
        ends = {one.watch: one.type for one in list(listener.callbacks)[2:]}
        assert ends == {"done": "task.succeeded", "busy": "watch.lost"}
        assert upstream.count("done") == upstream.count("busy") == 2


async def test_an_upstream_that_never_tells_anything_is_logged_once_and_its_task_lost_at_the_deadline(
    tmp_path: Path,
) -> None:
    """204 for ever, to all tasks: one line, no end but that, and the next one is well."""
    async with (
        PolledUpstream([Answer(status=204, body=b"")]) as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, deadline=2.0, give_up_after=0.1, not_found_grace=0.1) as (made, feed),
    ):
        with capture_logs() as logs:
            await made.want("1", "2")
            await until(lambda: polls(made, "no_content") >= 6)
            assert feed.troubles == {"no_content": 2}
            assert not listener.callbacks
            lost = await listener.wait(2)
            upstream.script("3", DONE)
            await made.want("3")
            await listener.wait(3)
        assert [data(one)["reason"] for one in lost] == ["deadline", "deadline"]
        warnings = [entry["event"] for entry in logs if entry["log_level"] == "warning"]
        assert sorted(warnings) == ["source.no_content", "watch.lost", "watch.lost"]


async def test_a_shorter_interval_counts_at_once(tmp_path: Path) -> None:
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, interval="1h", max_interval="1h") as (made, feed),
    ):
        await made.want("1")
        await listener.wait(1)
        upstream.script("1", state("busy"), DONE)
        feed.update(quick(poll=Poll(interval="50ms")), reopen=False, hurry=True)
        await listener.wait(2)
        assert len(feed) in (0, 1)
        await until(lambda: len(feed) == 0)


async def test_a_watch_that_is_removed_is_polled_no_more(tmp_path: Path) -> None:
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener) as (made, feed),
    ):
        await made.want("1", "2")
        await upstream.asked("1", 2)
        feed.drop(next(watch.pk for watch in feed.followed.watches() if watch.id == "1"))
        await until(lambda: upstream.in_flight == 0)
        count = upstream.count("1")
        await upstream.asked("2", upstream.count("2") + 5)
        assert upstream.count("1") <= count + 1  # one may have been on its way


async def test_watches_that_wait_have_no_task_and_no_connection(tmp_path: Path) -> None:
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, interval="1h", max_interval="1h", max_streams=20) as (made, feed),
    ):
        await made.want(*map(str, range(500)))
        await listener.wait(500)
        await until(lambda: upstream.in_flight == 0)
        await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith("watch ")])
        assert len(feed) == 500
        assert len({asked.peer for asked in upstream.requests}) <= 20


async def test_a_watch_is_asked_for_by_its_own_variables_and_anew_when_they_change(tmp_path: Path) -> None:
    """A description with other variables counts at once, though the next poll would come much later."""
    fields = {"url": "{base_url}/{kind}/{id}", "variables": {"kind": "video"}}
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, interval="1h", max_interval="1h", fields=fields) as (made, feed),
    ):
        await made.want("1")
        await made.want("2", variables={"kind": "image"})
        await listener.wait(2)
        assert {asked.path for asked in upstream.requests} == {"/video/1", "/image/2"}
        [first] = [watch for watch in feed.followed.watches() if watch.id == "1"]
        feed.describe(replace(first, labels={"a": "b"}))
        feed.describe(replace(first, variables={"kind": "music"}))
        await upstream.asked("1", 2)
        assert [asked.path for asked in upstream.requests if asked.task == "1"] == ["/video/1", "/music/1"]


RESULT = {"result_request": {"url": "{base_url}/files/{result_id}", "result_id": "file", "result": "file.url"}}


async def test_a_result_that_takes_a_request_comes_with_the_completion(tmp_path: Path) -> None:
    """The request is repeated until it brings the result."""
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, fields=RESULT) as (made, _),
    ):
        upstream.script("1", state("ok", file="f1"))
        upstream.script("f1", Answer(status=503), Answer(body={"file": {"url": "https://h/v.mp4"}}))
        await made.want("1")
        [callback] = await listener.wait(1)
        assert data(callback)["result"] == {"urls": ["https://h/v.mp4"]}
        assert (upstream.count("1"), upstream.count("f1")) == (1, 2)


async def test_a_result_that_does_not_come_is_said_with_the_completion(tmp_path: Path) -> None:
    async with (
        PolledUpstream() as upstream,
        Listener() as listener,
        polling(tmp_path, upstream, listener, fields=RESULT, result_timeout=1.0) as (made, _),
    ):
        upstream.script("1", state("ok", file="f1"))
        upstream.script("f1", Answer(status=500))
        await made.want("1")
        [callback] = await listener.wait(1)
        assert callback.type == "task.succeeded"
        assert data(callback)["result"] is None
        assert "500" in data(callback)["result_error"]
