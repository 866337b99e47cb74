"""A bot in a channel: one message for each task, edited as it moves, over a real socket and a real store."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import structlog
from scripted_receiver import receiving, silence
from slack_workspace import TOKEN, Fault, Workspace, workspace
from store_rig import running
from waits import undisturbed

from notifier.core.model import ChatMessage, Delivery
from notifier.core.retry import Attempt, Delivered, Failed, Gone, Outcome, Rejected
from notifier.senders.notice import Additions
from notifier.senders.pace import LONGEST_TURN, ChannelPace, Paces
from notifier.senders.slack_bot import SlackBot, place_of
from notifier.senders.target import Target
from notifier.store import Store

STATES = {1: ("task.state_changed", "queueing", "queued"), 2: ("task.state_changed", "processing", "running")}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with running(f"sqlite:///{tmp_path / 'notifier.db'}") as opened:
        yield opened


@pytest.fixture
async def slack() -> AsyncIterator[Workspace]:
    async with workspace() as running_workspace:
        yield running_workspace


def event(
    sequence: int, kind: str = "", state: str = "", phase: str = "", *, lane: int | None = 1, endpoint: str = "ops"
) -> Delivery:
    """Return the delivery of a task's event."""
    default = STATES.get(sequence, ("task.succeeded", "success", "succeeded"))
    kind, state, phase = kind or default[0], state or default[1], phase or default[2]
    data: dict[str, Any] = {
        "watch": {"source": "vidu", "id": f"task-{lane}"},
        "sequence": sequence,
        "state": state,
        "phase": phase,
        "error": {"code": "E1", "message": "refused"} if phase == "failed" else None,
    }
    return Delivery(
        id=sequence,
        endpoint=endpoint,
        event_id=f"msg_{lane}_{sequence}",
        event_type=kind,
        body=json.dumps({"type": kind, "timestamp": "t", "data": data}).encode(),
        lane=lane,
        observed_at=0,
    )


def failure(sequence: int, **more: Any) -> Delivery:
    return event(sequence, "task.failed", "failed", "failed", **more)


class Bots:
    """Bots that one test makes, closed at its end."""

    def __init__(self, slack: Workspace, store: Store) -> None:
        self._slack, self._store = slack, store
        self._made: list[SlackBot] = []

    def __call__(self, channel: str = "ops", *, pace: ChannelPace | None = None, **settings: Any) -> SlackBot:
        timeout = settings.pop("timeout", 20.0)
        settings.setdefault("token", TOKEN)
        settings.setdefault("interval", 0.0)
        bot = SlackBot(
            Target(url=self._slack.url, timeout=timeout),
            channel=channel,
            messages=self._store.messages,
            pace=pace or ChannelPace(),
            clock=lambda: time.time_ns() // 1000,
            **settings,
        )
        self._made.append(bot)
        return bot

    async def close(self) -> None:
        for bot in self._made:
            await bot.close()


@pytest.fixture
async def bots(slack: Workspace, store: Store) -> AsyncIterator[Bots]:
    made = Bots(slack, store)
    yield made
    await made.close()


async def test_a_task_has_one_message_that_is_edited(slack: Workspace, bots: Bots) -> None:
    """Posted with its first state, edited with each that follows; each task has its own."""
    bot = bots()
    for sequence in (1, 2, 3):
        assert (await bot.send(event(sequence))).outcome == Delivered()
    assert (await bot.send(event(1, lane=2))).outcome == Delivered()
    first, second = slack.shown()
    assert (first.text, first.edits) == ("✅ *vidu* `task-1`: *succeeded*", 2)
    assert (second.text, second.edits) == ("⏳ *vidu* `task-2`: `queueing`", 0)
    assert [method for method, _ in slack.calls] == ["chat.postMessage", *["chat.update"] * 2, "chat.postMessage"]


async def test_an_edit_comes_after_a_restart(slack: Workspace, bots: Bots) -> None:
    """The place of the message is in the store; a channel by its name is edited by its id."""
    await bots().send(event(1))
    await bots().send(event(3))
    (message,) = slack.shown()
    assert message.edits == 1


async def test_details_that_are_over_are_taken_away(slack: Workspace, bots: Bots) -> None:
    """An edit leaves what it does not name."""
    bot = bots()
    await bot.send(failure(1))
    assert slack.shown()[0].attachments
    await bot.send(event(2))
    assert slack.shown()[0].attachments == []


async def test_an_event_of_no_task_has_a_message_of_its_own(slack: Workspace, bots: Bots) -> None:
    """Nothing is edited that operators are told."""
    bot = bots()
    for _ in range(2):
        await bot.send(event(1, "endpoint.disabled", lane=None))
    assert [message.edits for message in slack.shown()] == [0, 0]


@pytest.mark.parametrize("word", ["message_not_found", "cant_update_message", "edit_window_closed"])
async def test_a_message_that_cannot_be_edited_is_replaced(slack: Workspace, bots: Bots, word: str) -> None:
    """By a new one, which is edited from then on."""
    bot = bots()
    await bot.send(event(1))
    slack.faults.append(Fault(word=word))
    assert (await bot.send(event(2))).outcome == Delivered()
    await bot.send(event(3))
    old, new = slack.shown()
    assert (old.edits, new.edits) == (0, 1)
    assert "succeeded" in new.text


async def test_a_deleted_message_is_replaced(slack: Workspace, bots: Bots) -> None:
    """As Slack itself answers."""
    bot = bots()
    await bot.send(event(1))
    slack.delete("1700000000.000001")
    assert (await bot.send(event(2))).outcome == Delivered()
    assert len(slack.shown()) == 1


async def test_a_failure_is_told_in_the_thread_once(slack: Workspace, bots: Bots) -> None:
    """Where people are called, since an edit calls nobody; not again when the delivery is repeated."""
    bot = bots(thread=True, additions=Additions(mentions=("<!here>",)))
    await bot.send(event(1))
    for _ in range(2):
        assert (await bot.send(failure(2))).outcome == Delivered()
    (message,), (reply,) = slack.shown(), slack.shown(thread=True)
    assert message.text == "❌ *vidu* `task-1`: *failed*"
    assert reply.text == "❌ *vidu* `task-1`: *failed* <!here>"
    assert reply.thread == "1700000000.000001"


async def test_a_reply_that_failed_is_made_up_for(slack: Workspace, bots: Bots) -> None:
    """The edit is repeated, which changes nothing; the reply comes."""
    bot = bots(thread=True)
    await bot.send(event(1))
    slack.faults.append(Fault(status=503))
    assert isinstance((await bot.send(failure(2))).outcome, Failed)  # the edit
    await bot.send(failure(2))
    assert len(slack.shown(thread=True)) == 1


async def test_a_first_message_that_tells_a_failure_has_no_reply(slack: Workspace, bots: Bots) -> None:
    """Nothing is said twice, and it calls by itself."""
    bot = bots(thread=True, additions=Additions(mentions=("<!here>",)))
    for _ in range(2):
        await bot.send(failure(1))
    assert slack.shown(thread=True) == []
    assert len(slack.shown()) == 1


async def test_an_old_event_does_not_turn_a_message_back(slack: Workspace, bots: Bots) -> None:
    """A dead delivery that is sent again by hand comes when the message shows more."""
    bot = bots()
    await bot.send(event(1))
    await bot.send(event(3))
    assert (await bot.send(event(2))).outcome == Delivered()
    assert "succeeded" in slack.shown()[0].text


async def test_another_channel_has_messages_of_its_own(slack: Workspace, bots: Bots) -> None:
    """A message in the channel before is not edited any more."""
    await bots("ops").send(event(1))
    await bots("video").send(event(2))
    await bots("video").send(event(3))
    assert [message.edits for message in (*slack.shown("ops"), *slack.shown("video"))] == [0, 1]


async def test_a_lost_answer_posts_at_most_twice(slack: Workspace, bots: Bots) -> None:
    """Slack has no idempotency key; the second message is the one that is edited."""
    bot = bots()
    slack.faults.append(Fault(lost=True))
    assert isinstance((await bot.send(event(1))).outcome, Failed)
    assert (await bot.send(event(1))).outcome == Delivered()
    await bot.send(event(3))
    assert [message.edits for message in slack.shown()] == [0, 1]


@pytest.mark.parametrize(
    ("word", "kind"),
    [("token_revoked", Gone), ("not_in_channel", Failed), ("fatal_error", Failed), ("msg_too_long", Rejected)],
)
async def test_refusals_of_a_post_and_of_an_edit(slack: Workspace, bots: Bots, word: str, kind: type) -> None:
    """Are judged alike, and leave nothing behind."""
    bot = bots()
    slack.faults.append(Fault(word=word))
    assert isinstance((await bot.send(event(1))).outcome, kind)
    await bot.send(event(1))
    slack.faults.append(Fault(word=word))
    assert isinstance((await bot.send(event(2))).outcome, kind)
    assert len(slack.shown()) == 1


async def test_two_endpoints_of_a_channel_share_its_rate(slack: Workspace, store: Store, bots: Bots) -> None:
    """Slack refuses none of their messages, and others' channels do not wait."""
    slack.interval = 0.5
    paces, lanes = Paces(), count(1)
    one, two = (bots(pace=paces.of("ops"), interval=0.75) for _ in range(2))
    other = bots("video", pace=paces.of("video"), interval=0.75)

    async def send_all() -> tuple[list[Outcome], int]:
        before = slack.refused
        senders = ((one, "ops"), (two, "b"), (one, "ops"), (other, "ops"))
        sent = [bot.send(event(1, lane=next(lanes), endpoint=name)) for bot, name in senders]
        return [attempt.outcome for attempt in await asyncio.gather(*sent)], slack.refused - before

    assert await undisturbed(send_all, lag=0.2) == ([Delivered()] * 4, 0)


async def test_patience_that_slack_asks_of_one_endpoint_is_kept_by_all(slack: Workspace, bots: Bots) -> None:
    """For as long as it says; a long wait is left to the dispatcher, at no cost."""
    pace = ChannelPace()
    one, two = bots(pace=pace), bots(pace=pace)
    slack.faults.append(Fault(status=429, headers={"Retry-After": "30"}))
    for bot in (one, two):
        outcome = (await bot.send(event(1))).outcome
        assert isinstance(outcome, Failed)
        assert outcome.retry_after is not None
        assert LONGEST_TURN < outcome.retry_after <= 30
        assert (outcome.throttle, outcome.spend) == (True, False)
    assert slack.calls == []


async def test_what_may_have_been_shown_is_not_posted_again_unless_wanted(store: Store) -> None:
    """An edit is repeated in any case: it shows the same."""
    async with receiving(silence) as receiver:
        bot = SlackBot(
            Target(url=receiver.url, timeout=0.2),
            token=TOKEN,
            channel="ops",
            messages=store.messages,
            pace=ChannelPace(),
            interval=0.0,
            clock=lambda: 0,
            retry_on_timeout=False,
        )
        post = (await bot.send(event(1))).outcome
        shown = ChatMessage(place=place_of(receiver.url, "ops"), channel="C0OPS", ts="1.1", sequence=1)
        await store.messages.keep("ops", 1, shown, before=None)
        edit = (await bot.send(event(2))).outcome
        await bot.close()
    assert isinstance(post, Rejected)
    assert (post.reason, post.well) == ("timeout", False)
    assert isinstance(edit, Failed)
    assert edit.reason == "timeout"


async def test_the_token_appears_nowhere(slack: Workspace, bots: Bots) -> None:
    """Neither in an attempt nor in the log, though Slack repeated it."""
    bot = bots()
    slack.faults.append(Fault(word=f"bad token {TOKEN}"))
    with structlog.testing.capture_logs() as logs:
        attempt: Attempt = await bot.send(event(1))
    assert isinstance(attempt.outcome, Failed)
    assert TOKEN not in repr(attempt)
    assert "t0ps3cr3t" not in repr(attempt) + repr(logs)


async def test_a_template_writes_the_text(slack: Workspace, bots: Bots) -> None:
    """It is edited like any other."""
    bot = bots(template="{{ data.watch.id }} is {{ data.state }}")
    await bot.send(event(1))
    await bot.send(event(3))
    assert [message.text for message in slack.shown()] == ["task-1 is success"]


async def test_a_template_that_fails_is_dead(slack: Workspace, bots: Bots) -> None:
    """At the first post and at an edit."""
    await bots().send(event(1))
    for lane in (1, 2):
        outcome = (await bots(template="{{ data.nothing }}").send(event(2, lane=lane))).outcome
        assert isinstance(outcome, Rejected)
        assert outcome.reason == "template"
