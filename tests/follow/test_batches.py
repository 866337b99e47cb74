"""One request asks for many tasks: each is told its own, a broken entry hurts one, and a round costs few requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from batch_upstream import BatchUpstream
from parts import Rig, locked, quick, rig, webhook
from structlog.testing import capture_logs
from waits import until

from notifier.follow.feed import Feed
from notifier.follow.subscription import Stage
from notifier.sources.preset import Preset
from notifier.tools.listener import Listener

FIELDS: dict[str, Any] = {
    "transport": "poll",
    "url": "{base_url}/jobs/{id}",
    "paths": {"state": "data.status", "task_id": "data.task_id"},
    "states": {"running": ["busy"], "succeeded": ["ok"], "failed": ["bad"]},
    "poll": {"interval": "100ms", "max_interval": "100ms", "growth": 1},
}
LIST = {"url": "{base_url}/batch", "items": "data[*].{data: @}"}
MAPPING = {"url": "{base_url}/batch", "items": "tasks"}


def as_list(states: dict[str, str]) -> Any:
    return {"code": "success", "data": [{"task_id": task, "status": state} for task, state in states.items()]}


def as_mapping(states: dict[str, str]) -> Any:
    return {"tasks": {task: {"data": {"status": state}} for task, state in states.items()}}


def only(tasks: str, states: dict[str, str]) -> dict[str, str]:
    return {task: state for task, state in states.items() if task in tasks}


@asynccontextmanager
async def batching(
    tmp_path: Path, upstream: BatchUpstream, listener: Listener, batch: dict[str, Any], **more: Any
) -> AsyncIterator[tuple[Rig, Feed]]:
    """Follow an upstream by polls of several tasks; `more` are fields of the preset, or limits of the policy."""
    fields = {key: more.pop(key) for key in ("poll", "variables", "url", "result_request") if key in more}
    preset = Preset.model_validate(FIELDS | {"base_url": upstream.url, "batch": batch} | fields)
    async with rig(tmp_path) as made:
        made.set_endpoints({"app": webhook(listener.url)})
        feed = made.feed(made.polled(preset), quick(**{"poll": preset.poll} | more))
        made.watcher.set_feeds({"vidu": feed})
        yield made, feed


@pytest.mark.parametrize(
    ("shape", "batch"),
    [
        (as_list, LIST),
        (as_mapping, MAPPING),
        (as_list, LIST | {"method": "GET", "url": "{base_url}/batch?ids={ids}"}),
    ],
    ids=["list", "mapping", "ids in the url"],
)
async def test_many_tasks_are_asked_for_at_once(tmp_path: Path, shape: Any, batch: dict[str, Any]) -> None:
    """Each is told its own changes, and ends by itself."""
    async with (
        BatchUpstream(shape) as upstream,
        Listener() as listener,
        batching(tmp_path, upstream, listener, batch) as (made, feed),
    ):
        ids = [f"t-{number}" for number in range(50)]
        await made.want(*ids)
        await listener.wait(50)
        upstream.states |= dict.fromkeys(ids[:25], "ok") | dict.fromkeys(ids[25:49], "bad")
        await listener.wait(99)
        ends = {one.watch: one.state for one in list(listener.callbacks)[50:]}
        assert ends == dict.fromkeys(ids[:25], "ok") | dict.fromkeys(ids[25:49], "bad")
        await until(lambda: len(feed) == 1)
        alone = [task for task in upstream.single if task != "t-49"]  # one whose time came while no other's was near
        assert len(alone) < 10
        assert upstream.headers[0]["Authorization"] == "Bearer tok"


@pytest.mark.unmeasured
async def test_a_round_of_ten_thousand_tasks_costs_at_most_a_hundred_requests(tmp_path: Path) -> None:
    """Counted at the upstream: tasks whose polls are due at scattered times are asked for together."""
    poll = {"interval": "2s", "max_interval": "2s", "growth": 1}
    async with (
        BatchUpstream(as_list) as upstream,
        Listener() as listener,
        batching(tmp_path, upstream, listener, LIST, poll=poll) as (made, _),
    ):
        made.recorder.routes = []
        ids = [str(number) for number in range(10_000)]
        await made.want(*ids)
        await until(lambda: sum(map(len, upstream.batches)) >= 10_000)
        await until(lambda: len({task for asked in upstream.batches for task in asked}) == 10_000)
        before, asked = len(upstream.batches), sum(map(len, upstream.batches))
        await until(lambda: sum(map(len, upstream.batches)) >= asked + 10_000)
        assert len(upstream.batches) - before <= 100
        assert max(map(len, upstream.batches)) <= 500


async def test_an_answer_about_several_tasks_says_when_to_ask_again(tmp_path: Path) -> None:
    """By Retry-After, or by the header that the preset names, beside their states."""
    poll = FIELDS["poll"] | {"hint": "x-poll-after-ms"}
    async with (
        BatchUpstream(as_list) as upstream,
        Listener() as listener,
        batching(tmp_path, upstream, listener, LIST, poll=poll) as (made, _),
    ):
        upstream.reply_headers = {"X-Poll-After-MS": "1000"}
        await made.want("a", "b")
        await upstream.asked(2)
        first, second = upstream.times[:2]
        assert set(upstream.batches[0]) == {"a", "b"}
        assert second - first >= 0.95


class Belated(BatchUpstream):
    """Knows the task `late` from the second time on that it is asked for by itself."""

    def told(self, ids: list[str]) -> dict[str, str]:
        if self.single.count("late") > 1:
            self.states["late"] = "ok"
        return super().told(ids)


async def test_an_id_that_is_missing_is_not_found_under_its_grace(tmp_path: Path) -> None:
    async with (
        Belated(as_list) as upstream,
        Listener() as listener,
        batching(tmp_path, upstream, listener, LIST, not_found_grace=1.0) as (made, _),
    ):
        upstream.default = None
        upstream.states = {"a": "busy", "b": "busy"}
        await made.want("a", "b", "late", "never")
        ends = {one.watch: one.type for one in await listener.wait(4)}
        assert ends == dict.fromkeys("ab", "task.state_changed") | {"late": "task.succeeded", "never": "watch.lost"}


@pytest.mark.parametrize(
    ("shape", "left_out", "batch"),
    [
        (lambda states: as_list(only("ab", states)), "cd", LIST),
        (lambda states: as_mapping(only("a", states)), "bcd", MAPPING),
        (lambda _: {"tasks": {"other": {"data": {"status": "bad"}}}}, "abcd", MAPPING),
        (lambda _: {"data": [{"status": "ok"}, None, 7]}, "abcd", LIST),
        (lambda _: {"data": []}, "abcd", LIST | {"method": "GET", "url": "{base_url}/batch?ids={ids}"}),
    ],
    ids=["two of them", "one of them", "others", "nameless", "none"],
)
async def test_an_id_that_is_missing_is_asked_for_by_itself(
    tmp_path: Path, shape: Any, left_out: str, batch: dict[str, Any]
) -> None:
    """An answer that is cut short, or has come out of date, says nothing of the tasks that it leaves out."""
    async with (
        BatchUpstream(shape) as upstream,
        Listener() as listener,
        batching(tmp_path, upstream, listener, batch, not_found_grace=0.0) as (made, feed),
    ):
        tasks = ["a", "b", "c", "d"]
        await made.want(*tasks)
        await listener.wait(4)
        await until(lambda: all(upstream.single.count(task) >= 3 for task in left_out))
        assert set(upstream.batches[0]) == set(tasks)
        upstream.states = dict.fromkeys(tasks, "ok")
        await listener.wait(8)
        await until(lambda: len(feed) == 0)
        assert {one.type for one in listener.callbacks} == {"task.state_changed", "task.succeeded"}


async def test_a_task_that_was_missing_once_is_asked_for_with_others_again(tmp_path: Path) -> None:
    """New tasks are in the answers late."""
    async with (
        BatchUpstream(lambda states: as_list(states if len(upstream.batches) > 1 else {})) as upstream,
        Listener() as listener,
        batching(tmp_path, upstream, listener, LIST) as (made, _),
    ):
        await made.want("a", "b")
        await until(lambda: len(upstream.batches) > 1)
        assert {"a", "b"} == set(upstream.single) == set(upstream.batches[0]) == set(upstream.batches[1])


async def test_a_task_that_is_given_up_delays_no_other_of_its_request(tmp_path: Path) -> None:
    """While the store cannot save that one is lost, the others are asked for all the same."""
    async with (
        BatchUpstream(as_list) as upstream,
        Listener() as listener,
        batching(tmp_path, upstream, listener, LIST, not_found_grace=0.0) as (made, feed),
    ):
        upstream.default = None
        upstream.states = {"gone": "busy", "known": "busy"}
        await made.want("gone", "known")
        await made.settled("app", 2)
        with locked(made):
            [pk] = [watch.pk for watch in feed.followed.watches() if watch.id == "gone"]
            del upstream.states["gone"]
            await until(lambda: (found := feed.followed.get(pk)) is not None and found.stage is Stage.CLOSING)
            count = len(upstream.batches) + len(upstream.single)
            await until(lambda: len(upstream.batches) + len(upstream.single) >= count + 3)
        *_, lost = await listener.wait(3)
        assert (lost.watch, lost.type) == ("gone", "watch.lost")


@pytest.mark.parametrize(
    "broken",
    [{"task_id": "b"}, {"task_id": "b", "status": None}, {"task_id": "b", "status": ["ok"]}],
)
async def test_a_broken_entry_hurts_only_its_task(tmp_path: Path, broken: Any) -> None:
    """The others are told, and it ends nothing."""

    def shape(states: dict[str, str]) -> Any:
        return {"data": [broken if item["task_id"] == "b" else item for item in as_list(states)["data"]]}

    async with (
        BatchUpstream(shape) as upstream,
        Listener() as listener,
        batching(tmp_path, upstream, listener, LIST) as (made, feed),
    ):
        await made.want("a", "b", "c")
        await listener.wait(2)
        upstream.states |= {"a": "ok", "c": "bad"}
        await listener.wait(4)
        assert {one.watch for one in listener.callbacks} == {"a", "c"}
        upstream.shape = as_list
        upstream.states["b"] = "ok"
        await listener.wait(5)
        await until(lambda: len(feed) == 0)


@pytest.mark.parametrize("answer", [{"code": "error", "message": "quota"}, [], {"data": None}, "busy", None])
async def test_an_answer_without_snapshots_ends_nothing(tmp_path: Path, answer: Any) -> None:
    async with (
        BatchUpstream(lambda _: answer) as upstream,
        Listener() as listener,
        batching(tmp_path, upstream, listener, LIST) as (made, feed),
    ):
        with capture_logs() as logs:
            await made.want("a", "b")
            await upstream.asked(4)
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["source.unreadable"]
        upstream.shape, upstream.default = as_list, "ok"
        await listener.wait(2)
        await until(lambda: len(feed) == 0)


@pytest.mark.parametrize("status", [404, 405])
async def test_where_there_is_no_such_route_tasks_are_asked_for_singly(tmp_path: Path, status: int) -> None:
    """A gateway that lacks it does not say that the tasks are unknown."""
    async with (
        BatchUpstream(as_list) as upstream,
        Listener() as listener,
        batching(tmp_path, upstream, listener, LIST, not_found_grace=0.0) as (made, _),
    ):
        upstream.status, upstream.default = status, "ok"
        with capture_logs() as logs:
            await made.want("a", "b")
            await listener.wait(2)
        assert len(upstream.batches) == 1
        assert sorted(upstream.single) == ["a", "b"]
        assert "source.no_batch" in [entry["event"] for entry in logs]


async def test_tasks_of_other_variables_are_asked_for_apart(tmp_path: Path) -> None:
    batch = {"url": "{base_url}/batch?kind={kind}", "items": LIST["items"]}
    async with (
        BatchUpstream(as_list) as upstream,
        Listener() as listener,
        batching(tmp_path, upstream, listener, batch, variables={"kind": "a"}, url="{base_url}/jobs/{id}?{kind}") as (
            made,
            _,
        ),
    ):
        await made.want(*(f"a{n}" for n in range(10)))
        await made.want(*(f"b{n}" for n in range(10)), variables={"kind": "b"})
        await listener.wait(20)
        await upstream.asked(6)
        assert all(len({task[0] for task in ids}) == 1 for ids in upstream.batches)


async def test_a_watch_that_is_dropped_leaves_the_others_of_its_request_alone(tmp_path: Path) -> None:
    async with (
        BatchUpstream(as_list) as upstream,
        Listener() as listener,
        batching(tmp_path, upstream, listener, LIST) as (made, feed),
    ):
        await made.want("a", "b", "c")
        await listener.wait(3)
        feed.drop(next(watch.pk for watch in feed.followed.watches() if watch.id == "b"))
        upstream.default = "ok"
        await listener.wait(5)
        assert {one.watch for one in list(listener.callbacks)[3:]} == {"a", "c"}
