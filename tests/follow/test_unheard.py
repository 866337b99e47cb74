"""Watches that nobody hears of are counted anew when the endpoints change, in slices that leave the loop to others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from parts import rig, route
from structlog.testing import capture_logs

from notifier.core.model import Watch
from notifier.follow.subscription import Subscription
from notifier.follow.unheard import SLICE, Unheard

COUNT = 10 * SLICE


def followed(count: int) -> dict[int, Subscription]:
    """Return subscriptions of watches; every second one has a label."""
    return {
        pk: Subscription(Watch(pk=pk, source="vidu", id=str(pk), created_at=0, labels={"team": "a"} if pk % 2 else {}))
        for pk in range(count)
    }


async def test_a_look_at_many_watches_goes_in_slices(tmp_path: Path) -> None:
    """Others have a turn after each. What was dropped meanwhile is not counted, and the first one is logged once."""
    async with rig(tmp_path, run=()) as made:
        made.recorder.routes = [route("app")]
        unheard, watches, turns = Unheard(made.recorder), followed(COUNT), 0
        for subscription in watches.values():
            unheard.note(subscription.watch)
        assert len(unheard) == 0
        made.recorder.routes = [route("app", labels={"team": "a"})]
        with capture_logs() as logs:
            looking = asyncio.create_task(unheard.look(watches), name="look")
            while not looking.done():
                await asyncio.sleep(0)
                turns += 1
                if turns == 2:
                    del watches[COUNT - 2]
                    unheard.forget(COUNT - 2)
        assert turns >= COUNT / SLICE
        assert len(unheard) == COUNT / 2 - 1
        assert [entry["id"] for entry in logs] == ["0"]


async def test_endpoints_that_change_during_a_look_are_those_that_count(tmp_path: Path) -> None:
    async with rig(tmp_path, run=()) as made:
        unheard, watches = Unheard(made.recorder), followed(COUNT)
        made.recorder.routes = [route("app", labels={"team": "b"})]
        looking = asyncio.create_task(unheard.look(watches), name="look")
        await asyncio.sleep(0)
        assert 0 < len(unheard) < COUNT
        made.recorder.routes = [route("app")]
        await looking
        assert len(unheard) == 0


@pytest.mark.parametrize(
    ("endpoints", "what"), [(None, "`match` accepts it: name one"), ((), "its own `endpoints` name")]
)
async def test_the_hint_says_which_of_the_two_keeps_a_watch_from_being_heard(
    tmp_path: Path, endpoints: tuple[str, ...] | None, what: str
) -> None:
    async with rig(tmp_path, run=()) as made:
        made.recorder.routes = [route("app", labels={"team": "a"})]
        with capture_logs() as logs:
            Unheard(made.recorder).note(Watch(pk=1, source="vidu", id="1", created_at=0, endpoints=endpoints))
        assert what in logs[0]["hint"]
