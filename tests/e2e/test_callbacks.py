"""Callbacks of watches, with the daemon as a process: told besides the endpoints, signed, retried, in order, kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from daemon_process import SECRET, SECRET_2, Fields, Start, config, webhook
from queue_places import RedisPlace
from receiver import Arrival, Receiver
from standardwebhooks import Webhook
from waits import until

from notifier.core.callback import Callback
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import parse_spec

pytestmark = pytest.mark.unmeasured

STATES = "queueing,processing,success"
TOKEN = "t0ken-in-the-path-of-a-stranger"


def callbacks(**more: Any) -> Fields:
    """Allow this machine, which tests have to send to."""
    return {"secret": SECRET_2, "allow_networks": ["127.0.0.0/8"], "allow_http": True} | more


def verified(arrivals: Sequence[Arrival], secret: str) -> list[Fields]:
    """Verify signatures by the reference library; return what was said."""
    found: list[Fields] = []
    for arrival in arrivals:
        Webhook(secret).verify(arrival.body, arrival.headers)
        found.append(json.loads(arrival.body))
    return found


def at(receiver: Receiver, path: str) -> list[Arrival]:
    return [arrival for arrival in receiver.arrivals if arrival.path == path]


async def test_a_callback_is_told_beside_the_endpoints(daemons: Start) -> None:
    """Signed with its own secret or the configured one; in order; with `endpoints: []` it is told alone."""
    async with (
        Simulator(transcripts={name: parse_spec(STATES) for name in "123"}, interval=0.05) as sim,
        Receiver() as ears,
        Receiver() as own,
    ):
        daemon = daemons(config(upstream=sim.base_url, endpoints={"app": webhook(ears.url)}, callbacks=callbacks()))
        await daemon.start()
        url = f"{own.url}/{TOKEN}"
        watches = [
            {"id": "1", "callback_url": f"{url}/1", "callback_secret": SECRET},
            {"id": "2", "callback_url": f"{url}/2", "endpoints": []},
            {"id": "3"},
        ]
        status, answer = await daemon.post("/v1/watches", watches)
        assert (status, answer["created"]) == (201, 3)
        await own.wait(6)
        await ears.wait(6)
        for name, secret in (("1", SECRET), ("2", SECRET_2)):
            told = verified(at(own, f"/{TOKEN}/{name}"), secret)
            assert [event["data"]["sequence"] for event in told] == [1, 2, 3]
            assert [event["data"]["state"] for event in told] == STATES.split(",")
            assert {event["data"]["watch"]["id"] for event in told} == {name}
        assert {event["data"]["watch"]["id"] for event in verified(ears.arrivals, SECRET)} == {"1", "3"}
        await until(lambda: daemon.rows("SELECT count(*) FROM deliveries WHERE settled_at IS NULL") == [(0,)], what="x")
        status, shown = await daemon.get("/v1/watches/vidu/1")
        assert (status, json.loads(shown)["callback"]) == (200, own.url)
        _, listed = await daemon.get("/v1/deliveries?endpoint=callback&status=delivered")
        assert len(json.loads(listed)["items"]) == 6
        assert await daemon.metric('notifier_delivery_attempts_total{endpoint="callback",outcome="delivered"}') == 6
        _, metrics = await daemon.get("/metrics")
        _, page = await daemon.get("/v1/status")
        shown_anywhere = [shown, listed, metrics, page, json.dumps(answer), "\n".join(daemon.log.lines)]
        assert not [text for text in shown_anywhere if TOKEN in text or SECRET in text or SECRET_2 in text]
        assert "callback:" not in metrics


async def test_a_second_request_changes_nothing(daemons: Start) -> None:
    async with Simulator(interval=60) as sim, Receiver() as own:
        daemon = daemons(config(upstream=sim.base_url, endpoints={}, callbacks=callbacks()))
        await daemon.start()
        assert (await daemon.post("/v1/watches", {"id": "1", "callback_url": f"{own.url}/a"}))[0] == 201
        status, again = await daemon.post("/v1/watches", {"id": "1", "callback_url": "http://127.0.0.9:1/b"})
        assert (status, again["callback"]) == (200, own.url)
        assert daemon.rows("SELECT url FROM callbacks") == [(f"{own.url}/a",)]


async def test_what_failed_is_tried_again_in_order_also_after_sigkill(daemons: Start) -> None:
    """Nothing in memory knows the URL after the start: the store does."""
    async with Simulator(transcripts={"1": parse_spec(STATES)}, interval=0.05) as sim, Receiver() as own:
        own.status = 500
        daemon = daemons(config(upstream=sim.base_url, endpoints={}, callbacks=callbacks()))
        await daemon.start()
        await daemon.post("/v1/watches", {"id": "1", "callback_url": f"{own.url}/{TOKEN}"})
        await own.wait(1)
        await until(lambda: bool(daemon.rows("SELECT 1 FROM attempts")), what="a failed attempt")
        await until(lambda: daemon.rows("SELECT count(*) FROM events") == [(3,)], what="three events")
        assert TOKEN not in "\n".join(daemon.log.lines)
        await daemon.kill()
        own.status = 200
        await daemon.start()
        await own.wait(4)
        told = verified(own.arrivals, SECRET_2)
        assert [event["data"]["sequence"] for event in told] == [1, 1, 2, 3]
        assert own.arrivals[0].id == own.arrivals[1].id


@pytest.mark.parametrize("moment", ["before", "while"])
async def test_what_waits_when_the_daemon_is_killed_is_sent(daemons: Start, moment: str) -> None:
    """Killed before any attempt could end, or with many of one URL in flight and more waiting."""
    count = 3 if moment == "before" else 100
    names = [str(number) for number in range(count)]
    async with Simulator(transcripts={name: parse_spec("success") for name in names}) as sim, Receiver() as own:
        own.gate.clear()
        daemon = daemons(config(upstream=sim.base_url, endpoints={}, callbacks=callbacks()))
        await daemon.start()
        await daemon.post("/v1/watches", [{"id": name, "callback_url": f"{own.url}/same"} for name in names])
        await own.wait(min(count, 16))
        await until(lambda: daemon.rows("SELECT count(*) FROM deliveries") == [(count,)], what="all were recorded")
        await daemon.kill()
        own.gate.set()
        await daemon.start()
        await own.wait_for(lambda _: len({arrival.id for arrival in own.arrivals}) == count)
        await until(
            lambda: daemon.rows("SELECT count(*) FROM deliveries WHERE status = 'delivered'") == [(count,)],
            what="all were delivered",
        )


async def test_gone_is_dead_at_once_and_can_be_sent_again(daemons: Start) -> None:
    """There is no endpoint to enable: what met the 410 is dead, what comes later is tried."""
    async with Simulator(transcripts={"1": parse_spec(STATES)}, interval=0.05) as sim, Receiver() as own:
        own.status = 410
        daemon = daemons(config(upstream=sim.base_url, endpoints={}, callbacks=callbacks()))
        await daemon.start()
        await daemon.post("/v1/watches", {"id": "1", "callback_url": own.url})
        dead = "SELECT count(*) FROM deliveries WHERE status = 'dead' AND reason = 'http_410' AND attempt = 1"
        await until(lambda: daemon.rows(dead) == [(3,)], what="three dead deliveries")
        assert daemon.rows("SELECT name FROM endpoints") == []
        assert not daemon.log.events("endpoint.disabled")
        listed = await daemon.run("delivery", "list", "--endpoint", "callback", "-c", "config.yaml")
        assert listed.out.count(" 127.0.0.1:") == 3  # by its host, not by its hash
        assert "callback:" not in listed.out
        own.status = 200
        done = await daemon.run("delivery", "retry", "--endpoint", "callback", "-c", "config.yaml")
        assert (done.code, done.err) == (0, "")
        await own.wait(6)
        assert [event["data"]["sequence"] for event in verified(own.arrivals, SECRET_2)][3:] == [1, 2, 3]


async def test_reload_applies_to_what_is_stored(daemons: Start) -> None:
    """Stricter rules make what waits fail with a reason; switched off, it is kept; switched on again, it is sent."""
    async with (
        Simulator(transcripts={"1": parse_spec("success"), "2": parse_spec("success")}) as sim,
        Receiver() as own,
    ):
        settings = config(upstream=sim.base_url, endpoints={}, callbacks=callbacks())
        daemon = daemons(settings)
        await daemon.start()
        daemon.write(settings | {"callbacks": callbacks(enabled=False)})
        own.status = 500
        await daemon.post("/v1/watches", {"id": "1", "callback_url": f"{own.url}/{TOKEN}"})
        await own.wait(1)
        assert (await daemon.run("reload", "-c", "config.yaml")).code == 0
        status, problem = await daemon.post("/v1/watches", {"id": "2", "callback_url": own.url})
        assert (status, problem["problems"]) == (
            422,
            ["callback_url: no callback URLs are taken here (callbacks.enabled is false); name endpoints"],
        )
        name = Callback(url=f"{own.url}/{TOKEN}").name
        await until(lambda: daemon.rows("SELECT owner FROM callbacks") == [(None,)], what="it was let go of")
        assert daemon.rows("SELECT endpoint, status FROM deliveries") == [(name, "ready")]
        daemon.write(settings | {"callbacks": callbacks(allow_networks=[])})
        assert (await daemon.run("reload", "-c", "config.yaml")).code == 0
        failed = await daemon.log.wait("delivery.retrying", 2)
        assert (failed["reason"], failed["url"]) == ("forbidden_url", own.url)
        assert TOKEN not in "\n".join(daemon.log.lines)
        assert len(own.arrivals) == 1


async def test_a_queue_brings_callbacks_too(daemons: Start) -> None:
    """By both forms of an entry; one with a URL that must not be is set aside, and the log shows nothing of it."""
    place = RedisPlace()
    await place.open()
    try:
        async with (
            Simulator(transcripts={"1": parse_spec("success"), "2": parse_spec("success")}) as sim,
            Receiver() as own,
        ):
            url = f"{own.url}/{TOKEN}"
            daemon = daemons(
                config(upstream=sim.base_url, endpoints={}, callbacks=callbacks(), queues=[place.settings()])
            )
            await daemon.start()
            await place.publish(
                json.dumps({"id": "1", "callback_url": f"{url}/1", "callback_secret": SECRET}).encode(),
                json.dumps({"id": "3", "callback_url": f"http://10.0.0.1/{TOKEN}", "callback_secret": SECRET}).encode(),
            )
            own_fields: Any = {"id": "2", "callback_url": f"{url}/2", "callback_secret": SECRET}
            await place.client.xadd(place.stream, own_fields)
            await own.wait(2)
            told = verified(own.arrivals, SECRET)
            assert sorted(event["data"]["watch"]["id"] for event in told) == ["1", "2"]
            await daemon.log.wait("queue.message_refused")
            [aside] = await place.dead()
            assert "callback_url: its address is special (private)" in aside.reason
            assert await daemon.stop() == 0  # one that still reads the queue would create it anew
            log = "\n".join(daemon.log.lines)
            assert TOKEN not in log
            assert SECRET not in log
    finally:
        await place.close()
