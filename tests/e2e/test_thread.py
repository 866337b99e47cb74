"""From a YAML file and a stream to signed callbacks: the program's purpose, with every part real."""

from __future__ import annotations

import json
from typing import Literal

import pytest
import standardwebhooks
from daemon_process import SECRET, Start, config, webhook
from receiver import Receiver
from waits import PATIENCE

from notifier.tools.listener import Listener
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

pytestmark = pytest.mark.unmeasured

TASKS = ["2370487727425660", "task with spaces & ünïcode/ü?x=1", "0"]
STATES = [("queueing", "queued"), ("processing", "running"), ("success", "succeeded")]


@pytest.mark.parametrize(("wire", "framing"), [("line", "line"), ("event", "line"), ("event", "event")])
async def test_documented_transcript_becomes_three_callbacks(
    daemons: Start, wire: Literal["line", "event"], framing: str
) -> None:
    """Thirty-two lines become three callbacks a task, in order, which three verifiers accept; and no fourth."""
    async with Simulator(token="t0p", framing=wire) as sim, Listener(secrets=[SECRET]) as ours, Receiver() as theirs:
        watches = [{"id": task, "labels": {"team": "video"}, "metadata": {"order": 7}} for task in TASKS]
        settings = config(
            upstream=sim.base_url,
            vidu={"framing": framing},
            endpoints={"ours": webhook(ours.url), "theirs": webhook(theirs.url + "/hooks/äöü")},
            watches=watches,
        )
        daemon = daemons(settings)
        await daemon.start()
        await ours.wait(9)
        await theirs.wait(9)
        assert await daemon.stop() == 0

        assert (ours.counts["received"], ours.counts["verified"], ours.counts["duplicates"]) == (9, 9, 0)
        for task in TASKS:
            mine = [callback for callback in ours.callbacks if callback.watch == task]
            assert [(c.state, c.phase) for c in mine] == STATES
            assert [c.sequence for c in mine] == [1, 2, 3]
            assert [c.type for c in mine] == ["task.state_changed", "task.state_changed", "task.succeeded"]
            assert [c.previous_state for c in mine] == [None, "queueing", "processing"]
        assert len(theirs.arrivals) == 9
        assert {a.id for a in theirs.arrivals} == {c.id for c in ours.callbacks}, "one event has one id everywhere"
        import svix.webhooks  # here, as it takes a second to load

        for arrival in theirs.arrivals:
            standardwebhooks.Webhook(SECRET).verify(arrival.body, arrival.headers)
            svix.webhooks.Webhook(SECRET).verify(arrival.body, arrival.headers)
            data = json.loads(arrival.body)["data"]
            assert data["watch"] == {"source": "vidu", **next(w for w in watches if w["id"] == data["watch"]["id"])}
            assert data["task"]["state"] == data["state"]
        assert daemon.rows("SELECT DISTINCT status FROM deliveries") == [("delivered",)]
        assert daemon.rows("SELECT count(*) FROM attempts") == [(18,)], "each was tried once"


async def test_states_arrive_while_the_stream_is_open(daemons: Start) -> None:
    """A `data:` line with no blank line after it is told at once, not when the stream ends."""
    async with (
        Simulator(transcript=Transcript(snapshots=()), framing="line") as sim,
        Listener(secrets=[SECRET]) as ears,
    ):
        daemon = daemons(config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=["1"]))
        await daemon.start()
        await sim.wait_open(1)
        for count, (state, _) in enumerate(STATES, 1):
            assert sim.open_streams == 1
            assert ears.counts["received"] == count - 1
            sim.push("1", state)
            assert (await ears.wait(count))[-1].state == state
        await sim.wait_open(0)
        assert sim.connects == 1
        assert await daemon.stop() == 0
        assert ears.counts["received"] == 3


async def test_interval_keeps_the_order_of_many(daemons: Start) -> None:
    """Tasks that move at their own pace do not get into each other's way."""
    ids = [str(n) for n in range(100)]
    async with Simulator(interval=0.02, jitter=0.5, seed=1) as sim, Listener(secrets=[SECRET]) as ears:
        daemon = daemons(config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, watches=ids))
        await daemon.start()
        await ears.wait(300, timeout=PATIENCE)
        assert await daemon.stop() == 0
        told: dict[str | None, list[str | None]] = {}
        for callback in ears.callbacks:
            told.setdefault(callback.watch, []).append(callback.state)
        assert told == {task: [state for state, _ in STATES] for task in ids}


async def test_slack_message_tells_the_end(daemons: Start) -> None:
    """A Slack endpoint gets messages for people, with the headers that its owner asked for, and no signature."""
    by_hand = Transcript(snapshots=())
    async with Simulator(transcript=by_hand) as sim, Receiver() as ears:
        slack = {"type": "slack", "url": ears.url + "/services/T0/B0/X", "headers": {"X-Key": "k"}, "rate_limit": None}
        daemon = daemons(config(upstream=sim.base_url, endpoints={"chat": slack}, watches=["job-1"]))
        await daemon.start()
        await sim.wait_open(1)
        sim.push("job-1", "success")
        [message] = await ears.wait(1)
        assert message.headers["x-key"] == "k"
        assert "webhook-signature" not in message.headers
        assert "job-1" in json.loads(message.body)["text"]
        assert await daemon.stop() == 0
