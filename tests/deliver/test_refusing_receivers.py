"""Deliveries to receivers on real sockets that refuse a share of all requests, or those beyond their places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from flaky_receiver import FlakyReceiver
from parts import Rig, clock, endpoint, observed, rig, webhook
from structlog.testing import capture_logs
from waits import PATIENCE

from notifier.core import machine
from notifier.core.breaker import SILENCE, State

sending = partial(rig, run=("dispatcher",))
STATES = ("queueing", "processing", "success")
HOUR = 3600 * 1_000_000  # microseconds


@asynccontextmanager
async def delivering(path: Path, receiver: FlakyReceiver, *, max_in_flight: int) -> AsyncIterator[Rig]:
    """Run a dispatcher by the rules of the daemon, with short waits between attempts."""
    async with sending(path, silence=SILENCE) as made:
        timeout = 1.0 if None in receiver.answers else PATIENCE  # a stall of the machine is no refusal
        sender = webhook(receiver.url, max_in_flight=max_in_flight, timeout=timeout)
        made.set_endpoints({"app": sender}, app=endpoint(schedule=(0.0, *[0.1] * 999), max_in_flight=max_in_flight))
        yield made


@pytest.mark.parametrize(
    ("share", "answers"),
    [
        (0.01, (503,)),
        (0.1, (429,)),
        (0.33, (503,)),
        (0.5, (502,)),
        (0.67, (504,)),
        (0.33, (429, 500, 502, 503, 504)),
        (0.1, (None,)),
    ],
    ids=["503-1", "429-10", "503-33", "502-50", "504-67", "mixture-33", "timeout-10"],
)
async def test_random_refusals_hold_nothing_else_back(
    tmp_path: Path, share: float, answers: tuple[int | None, ...]
) -> None:
    """Sixty tasks of three states: each state arrives once, in order, and the limit in flight never falls."""
    with capture_logs() as logs:
        async with (
            FlakyReceiver(share, answers, seconds=0.01) as receiver,
            delivering(tmp_path, receiver, max_in_flight=8) as made,
        ):
            watches = await made.claim(*map(str, range(60)))
            await asyncio.gather(*(made.tell(watch, *STATES) for watch in watches))
            await receiver.wait(180)
            await made.settled("app", 180)
            assert receiver.disorder() == {}
            app = made.dispatcher.endpoints["app"]
            assert (app.state, app.limit) == (State.CLOSED, 8)
            assert receiver.requests == pytest.approx(180 / (1 - share), rel=0.35)
    assert "endpoint.state" not in [entry["event"] for entry in logs]


async def test_a_receiver_of_three_places_gets_about_three_at_a_time(tmp_path: Path) -> None:
    """It may have 32. Once the limit has fallen, most messages are accepted at their first attempt, and all in order.

    How soon it falls depends on the machine: a busy one sees late that a place is free again.
    """
    async with (
        FlakyReceiver(0.0, seconds=0.05, places=3) as receiver,
        delivering(tmp_path, receiver, max_in_flight=32) as made,
    ):
        app = made.dispatcher.endpoints["app"]
        told = 0
        while app.limit > 4:
            watches = await made.claim(*map(str, range(told, told + 20)))
            await asyncio.gather(*(made.tell(watch, *STATES) for watch in watches))
            told += 20
            await receiver.wait(3 * told - 30)
        requests, accepted = receiver.requests, len(receiver.accepted)
        watches = await made.claim(*map(str, range(told, told + 60)))
        await asyncio.gather(*(made.tell(watch, *STATES) for watch in watches))
        messages = 3 * (told + 60)
        await receiver.wait(messages)
        await made.settled("app", messages)
        assert receiver.disorder() == {}
        assert receiver.requests - requests <= 2 * (messages - accepted)  # 32 at a time would be ten times as many


async def test_what_waited_for_an_hour_is_not_held_back_by_chance(tmp_path: Path) -> None:
    """Half of all attempts are answered 429: a message that could not be sent before comes again as soon as a new one.

    The pauses of one that is refused for ever grow with the time for which it could have been accepted.
    """
    async with (
        FlakyReceiver(0.5, (429,)) as receiver,
        delivering(tmp_path, receiver, max_in_flight=8) as made,
    ):
        for watch in await made.claim(*map(str, range(20))):
            await made.recorder.record(machine.step(watch, observed("queueing"), clock() - HOUR))
        await receiver.wait(20)
        await made.settled("app", 20)
        assert receiver.disorder() == {}
