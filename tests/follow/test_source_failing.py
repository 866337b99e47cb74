"""Operators are told once when a source does not answer at all, and once when it answers again."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from parts import ScriptedSender, quick, rig, route, transcript
from ports import free_port
from waits import until

from notifier.core.errors import TaskNotFound, Unavailable
from notifier.core.model import Delivery
from notifier.follow.troubles import Troubles
from notifier.senders.notice import plain, read
from notifier.tools.faults import parse_rule
from notifier.tools.simulator import Simulator

AFTER = 0.4  # seconds
OPERATORS = route("ops", events=("source.*",))


def types(sender: ScriptedSender) -> list[str]:
    return [delivery.event_type for delivery in sender.begun]


def data(delivery: Delivery) -> dict[str, object]:
    found: dict[str, object] = json.loads(delivery.body)["data"]
    return found


@pytest.mark.parametrize("rule", [None, "503", "401"])
async def test_a_source_that_does_not_answer_is_told_once(tmp_path: Path, rule: str | None) -> None:
    """Whether it cannot be reached, refuses or answers nothing but errors; and so is its recovery."""
    port, ops = free_port(), ScriptedSender()
    well = Simulator(port=port, transcript=transcript("queueing", "success"))
    async with AsyncExitStack() as stack, rig(tmp_path) as made:
        if rule is not None:
            await stack.enter_async_context(Simulator(port=port, faults=[parse_rule(rule)]))
        made.set_endpoints({"ops": ops}, routes=[OPERATORS])
        made.watcher.set_feeds({"vidu": made.feed(made.source(well), quick(failing_after=AFTER))})
        await made.want("1", "2")
        await until(lambda: types(ops) == ["source.failing"])
        await asyncio.sleep(AFTER)
        await stack.aclose()
        async with well:
            await until(lambda: types(ops) == ["source.failing", "source.recovered"])
    failing, recovered = map(data, ops.begun)
    assert failing["source"] == "vidu"
    assert failing["reason"] == ("refused" if rule == "401" else "unavailable")
    assert failing["detail"]
    assert (recovered["source"], recovered["reason"]) == ("vidu", "answers again")
    assert plain(read(ops.begun[0]).headline) == "Source vidu does not answer; it is tried again"
    assert plain(read(ops.begun[1]).headline).startswith("Source vidu answers again")  # after some seconds it says so


async def test_one_task_that_answers_is_enough(tmp_path: Path) -> None:
    """The others are their own trouble: the source as a whole does not fail."""
    ops = ScriptedSender()
    async with (
        Simulator(transcript=transcript("queueing"), keep_open=False, ids=["known"]) as sim,
        rig(tmp_path) as made,
    ):
        made.set_endpoints({"ops": ops}, routes=[OPERATORS])
        made.watcher.set_feeds({"vidu": made.feed(made.source(sim), quick(failing_after=AFTER))})
        await made.want("unknown", "known")
        await asyncio.sleep(3 * AFTER)
        assert ops.begun == []


def test_only_failures_in_a_row_count() -> None:
    """The time runs from the first of them."""
    now = [0.0]
    troubles = Troubles("vidu", now=lambda: now[0])
    troubles.tried(Unavailable("down"))
    now[0] = 5.0
    troubles.tried(Unavailable("still down"))
    assert (troubles.failing_since, str(troubles.fault)) == (0.0, "still down")
    troubles.tried(None)
    assert (troubles.failing_since, troubles.fault) == (None, None)
    now[0] = 9.0
    troubles.tried(TaskNotFound())
    assert troubles.failing_since == 9.0
