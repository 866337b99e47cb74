"""The mutes that a node knows: its own changes at once, those of others when it looks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from parts import clock, locked, rig
from waits import until

from notifier.core.model import Delivery
from notifier.core.mute import Mute
from notifier.deliver.mutes import REMEMBERED, ActiveMutes

HOUR = 3_600_000_000


def mute(name: str, **more: object) -> Mute:
    now = clock()
    return Mute(**{"id": name, "created_at": now, "until": now + HOUR} | more)  # type: ignore[arg-type]  # of any field


def delivery(endpoint: str, body: bytes = b"{}") -> Delivery:
    return Delivery(
        id=1,
        endpoint=endpoint,
        event_id="msg_1",
        event_type="task.succeeded",
        body=body,
        lane=None,
        observed_at=clock(),
        attempt=0,
    )


async def test_it_knows_its_own_changes_at_once_and_others_when_it_looks(tmp_path: Path) -> None:
    """`look` says whether anything has changed."""
    async with rig(tmp_path, run=()) as made:
        mine, other = ActiveMutes(store=made.store, clock=clock), ActiveMutes(store=made.store, clock=clock)
        await mine.add(mute("a", endpoint="ops"))
        assert [each.id for each in mine.active] == ["a"]
        assert not list(other.active)
        assert [await other.look(), await other.look()] == [True, False]
        assert [each.id for each in other.active] == ["a"]
        assert [await other.remove("a"), await other.remove("a")] == [True, False]
        assert not list(other.active)
        assert await mine.look()
        assert mine.active == ()


async def test_an_ended_mute_covers_what_happened_during_it(tmp_path: Path) -> None:
    """It is no longer active, and a start a week later has forgotten it."""
    async with rig(tmp_path, run=()) as made:
        now = clock()
        mutes = ActiveMutes(store=made.store, clock=lambda: now)
        await mutes.add(mute("a", endpoint="ops", labels={"team": "video"}))
        late = delivery("ops", b'{"data": {"watch": {"labels": {"team": "video"}}}}')
        now += 2 * HOUR
        assert mutes.active == ()
        assert mutes.covering(late) is not None
        assert mutes.covering(delivery("app")) is None
        for body in (b"{}", b"[" * 100_000, b"\xff", b'{"data": {"watch": {"labels": 5}}}'):
            assert mutes.covering(delivery("ops", body)) is None, "what has no labels is covered by no mute of labels"
        now += REMEMBERED
        assert await mutes.look()
        assert mutes.covering(late) is None


@pytest.mark.parametrize("change", ["add", "remove"])
async def test_a_look_beside_a_change_does_not_undo_it(tmp_path: Path, change: str) -> None:
    """An answer that the store gave before the change is not taken for what holds after it."""
    async with rig(tmp_path, run=()) as made:
        mutes = ActiveMutes(store=made.store, clock=clock)
        await mutes.add(mute("a"))
        with locked(made):  # the change is under way; reads go on
            changing = asyncio.create_task(mutes.add(mute("b")) if change == "add" else mutes.remove("a"))
            looking = asyncio.create_task(mutes.look())
            await until(lambda: looking.done() or bool(mutes._lock._waiters), "the look waits for the change")
            assert not looking.done()
        await changing
        assert not await looking
        assert [each.id for each in mutes.active] == (["a", "b"] if change == "add" else [])


async def test_while_the_store_is_away_what_is_known_holds(tmp_path: Path) -> None:
    """A look changes nothing, and raises nothing."""
    async with rig(tmp_path, run=()) as made:
        mutes = ActiveMutes(store=made.store, clock=clock)
        await mutes.add(mute("a"))
        await made.store.close()
        assert not await mutes.look()
        assert [each.id for each in mutes.active] == ["a"]
