"""Digests: the deliveries of an interval go out as one message, and each is settled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from parts import Rig, ScriptedSender, clock, endpoint, rig, route
from waits import until

from notifier.core.digest import MAX_EVENTS
from notifier.core.model import Delivery
from notifier.core.mute import Mute
from notifier.core.retry import Attempt, Delivered, Failed, Outcome
from notifier.deliver import EndpointPolicy
from notifier.store import Settlement

sending = partial(rig, run=("dispatcher",))
LATEST = [route("ops", latest=True)]


def digest(**more: Any) -> EndpointPolicy:
    settings = {"digest": 0.3, "latest": True, "people": True, "rate_limit": 1000.0, "max_in_flight": 1}
    return endpoint(**settings | more)


def tasks(delivery: Delivery) -> list[tuple[str, str]]:
    """Return the tasks of a message with their states."""
    events = json.loads(delivery.body)["data"]["events"]
    return sorted((event["data"]["watch"]["id"], event["data"]["state"]) for event in events)


async def test_an_interval_has_one_message(tmp_path: Path) -> None:
    """It tells the newest state of each task. Every delivery is settled, and the next interval has its own message."""
    async with sending(tmp_path) as made:
        sender = ScriptedSender()
        made.set_endpoints({"ops": sender}, LATEST, ops=digest(digest=1.0))
        one, two = await made.claim("1", "2")
        one = await made.tell(one, "queueing", "processing")
        await made.tell(two, "success")
        await until(lambda: len(sender.begun) >= 1)
        await made.tell(one, "success")
        await until(lambda: made.statuses("ops").get("delivered", 0) + made.statuses("ops").get("superseded", 0) == 4)
    assert len(sender.begun) <= 3  # an interval may have ended between two states
    told = [tasks(delivery) for delivery in sender.begun]
    assert ("1", "success") in told[-1]
    assert sum(("2", "success") in message for message in told) == 1
    assert all(delivery.id < 0 for delivery in sender.begun)


async def test_a_message_that_failed_comes_again(tmp_path: Path) -> None:
    """By the schedule, with what came meanwhile; an attempt is counted for each delivery."""
    answers: Iterator[Outcome] = iter([Failed(reason="http_500"), Delivered()])

    def answer(_: Delivery) -> Attempt:
        return Attempt(at=clock(), outcome=next(answers, Delivered()))

    async with sending(tmp_path) as made:
        sender = ScriptedSender(answer)
        made.set_endpoints({"ops": sender}, LATEST, ops=digest(schedule=(0.0, 0.2, 0.2)))
        for watch in await made.claim("1", "2"):
            await made.tell(watch, "success")
        await made.settled("ops", 2)
        tried = made.rows("SELECT attempt FROM deliveries")
    assert len(sender.begun) >= 2
    assert {tried[0], tried[1]} <= {(1,), (2,)}
    assert (2,) in tried


async def test_a_message_that_is_given_up_leaves_dead_deliveries(tmp_path: Path) -> None:
    """Each can be sent again."""

    def answer(_: Delivery) -> Attempt:
        return Attempt(at=clock(), outcome=Failed(reason="http_500"))

    async with sending(tmp_path) as made:
        made.set_endpoints({"ops": ScriptedSender(answer)}, LATEST, ops=digest(schedule=(0.0,)))
        for watch in await made.claim("1", "2", "3"):
            await made.tell(watch, "success")
        await made.settled("ops", 3, "dead")


async def test_many_take_several_messages(tmp_path: Path) -> None:
    """One after the other, without another interval between."""
    async with sending(tmp_path) as made:
        sender = ScriptedSender()
        made.set_endpoints({"ops": sender}, LATEST, ops=digest(digest=0.5))
        for watch in await made.claim(*map(str, range(MAX_EVENTS + 20))):
            await made.tell(watch, "success")
        await made.settled("ops", MAX_EVENTS + 20)
    assert max(len(tasks(delivery)) for delivery in sender.begun) <= MAX_EVENTS
    assert sender.most == 1


async def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    """Deliveries that waited in the store, or were claimed, are in a message of the next process."""
    hanging = ScriptedSender()
    hanging.open.clear()
    async with sending(tmp_path) as made:
        made.set_endpoints({"ops": hanging}, LATEST, ops=digest())
        first, second = await made.claim("1", "2")
        await made.tell(first, "success")
        await until(lambda: hanging.under_way == 1)
        await made.tell(second, "success")
    sender = ScriptedSender()
    async with sending(tmp_path) as made:
        made.set_endpoints({"ops": sender}, LATEST, ops=digest())
        await made.settled("ops", 2)
    assert sorted(task for delivery in sender.begun for task, _ in tasks(delivery)) == ["1", "2"]


async def test_what_is_muted_is_in_no_message(tmp_path: Path) -> None:
    """It is settled as muted when the message would be made."""
    async with sending(tmp_path) as made:
        sender = ScriptedSender()
        made.set_endpoints({"ops": sender}, LATEST, ops=digest())
        await made.dispatcher.mute(Mute(id="m", created_at=clock(), until=clock() + 10**9, labels={"team": "video"}))
        (muted,) = await made.claim("1", labels={"team": "video"})
        (told,) = await made.claim("2")
        await made.tell(muted, "success")
        await made.tell(told, "success")
        await made.settled("ops", 1)
        await made.settled("ops", 1, "muted")
    assert [tasks(delivery) for delivery in sender.begun] == [[("2", "success")]]


async def test_a_reload_may_switch_it(tmp_path: Path) -> None:
    """On and off; nothing is lost."""
    async with sending(tmp_path) as made:
        sender = ScriptedSender()
        made.set_endpoints({"ops": sender}, LATEST, ops=digest(digest=3600.0))
        one, two = await made.claim("1", "2")
        await made.tell(one, "success")
        await asyncio.sleep(0)
        made.set_endpoints({"ops": sender}, LATEST, ops=digest(digest=None))
        await made.tell(two, "success")
        await made.settled("ops", 2)
        assert all(delivery.id >= 0 for delivery in sender.begun)
        made.set_endpoints({"ops": sender}, LATEST, ops=digest(digest=0.1))
        (three,) = await made.claim("3")
        await made.tell(three, "success")
        await made.settled("ops", 3)
    assert sender.begun[-1].id < 0


async def test_each_delivery_is_settled_once(tmp_path: Path) -> None:
    """What a message releases stays in the store for the next one: it is not taken, and then given back."""
    async with sending(tmp_path) as made:
        settled = spied(made)
        made.set_endpoints({"ops": ScriptedSender()}, [route("ops")], ops=digest(latest=False, digest=0.1))
        (watch,) = await made.claim("1")
        await made.tell(watch, "queueing", "processing", "success")
        await made.settled("ops", 3)
    assert sorted(settled) == sorted(set(settled))
    assert len(settled) == 3


async def test_a_message_that_was_forgotten_leaves_the_next_one_alone(tmp_path: Path) -> None:
    """The former may still be saved while the next is under way; each is settled by its own outcome."""
    async with sending(tmp_path) as made:
        saving, go = asyncio.Event(), asyncio.Event()
        settle = made.store.outbox.settle

        async def held(*arguments: Any, **more: Any) -> Delivery | None:
            released = await settle(*arguments, **more)
            if not saving.is_set():
                saving.set()
                await go.wait()
            return released

        made.store.outbox.settle = held  # type: ignore[method-assign]  # the real one, whose answer comes late
        sender = ScriptedSender()
        made.set_endpoints({"ops": sender}, LATEST, ops=digest(max_in_flight=2))
        first, second = await made.claim("1", "2")
        await made.tell(first, "success")
        await saving.wait()
        sender.open.clear()
        made.dispatcher.forget()
        await made.tell(second, "success")
        await until(lambda: len(sender.begun) == 2, "the second message is under way")
        ops = made.dispatcher.get("ops")
        assert ops is not None
        go.set()
        await until(lambda: ops.in_flight == 1, "the first one is over")
        sender.open.set()
        await made.settled("ops", 2)


def spied(made: Rig) -> list[int]:
    """Return the list to which the ids of deliveries are added as they are settled."""
    settled: list[int] = []
    settle = made.store.outbox.settle

    async def noted(settlement: Settlement, **more: Any) -> Delivery | None:
        settled.append(settlement.delivery.id)
        return await settle(settlement, **more)

    made.store.outbox.settle = noted  # type: ignore[method-assign]  # the real one, watched
    return settled
