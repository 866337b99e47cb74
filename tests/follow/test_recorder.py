"""From a step to what is stored and sent: the bytes, the ids, and which endpoints are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from parts import SECRET, ScriptedSender, claimed, clock, endpoint, rig, route, webhook

from notifier.core.model import Event, EventType
from notifier.core.routing import Route
from notifier.tools.listener import Listener

recording = partial(rig, run=("dispatcher",))


async def test_the_bytes_stored_are_the_bytes_received(tmp_path: Path) -> None:
    """On every attempt, whatever the metadata holds; the id is the event's, and the signature is good."""
    metadata = {"ü": "日本語 🎬 \\u2028", "n": 1e300, "f": 0.1 + 0.2, "deep": [{"a": None}] * 3}
    async with Listener(respond="500x2,200", secrets=[SECRET]) as listener, recording(tmp_path) as made:
        made.set_endpoints({"app": webhook(listener.url)})
        [watch] = await made.claim("task/ü?&1", labels={"team": "vidéo"}, metadata=metadata)
        await made.tell(watch, "processing", "success")
        callbacks = await listener.wait(4)
        assert all(callback.verified for callback in callbacks)
        stored = dict(made.rows("SELECT id, body FROM events"))
        assert {callback.id for callback in callbacks} == stored.keys()
        assert all(callback.body == stored[callback.id] for callback in callbacks)
        assert json.loads(callbacks[0].body)["data"]["watch"]["metadata"] == metadata


GLOBS = (("task.*",), ("task.succeeded",), ("watch.lost",), ("*",), ("task.s*", "watch.*"))
MATCHES: tuple[Mapping[str, Any], ...] = (
    {},
    {"source": "vidu"},
    {"source": "other"},
    {"labels": {"team": "video"}},
    {"labels": {"team": "video", "tier": "1"}},
    {"source": "vidu", "labels": {"team": "video"}},
    {"source": "vidu", "labels": {"team": "music"}},
)
NAMED = (None, (), ("e0",), ("e0", "e3", "unknown"))
LABELS: tuple[Mapping[str, str], ...] = ({}, {"team": "video"}, {"team": "video", "tier": "1"})


async def test_every_combination_of_routes(tmp_path: Path) -> None:
    """An endpoint is told if its globs want the type, and the watch names it, or names none and its `match` holds."""
    routes = [
        Route(endpoint=f"e{number}", events=globs, **match)
        for number, (globs, match) in enumerate(product(GLOBS, MATCHES))
    ]
    wants = {  # which of "task.state_changed" and "task.succeeded" each of GLOBS takes
        GLOBS[0]: {1, 2},
        GLOBS[1]: {2},
        GLOBS[2]: set(),
        GLOBS[3]: {1, 2},
        GLOBS[4]: {1, 2},
    }
    async with recording(tmp_path) as made:
        made.set_endpoints({found.endpoint: ScriptedSender() for found in routes}, routes=routes)
        expected = set()
        for number, (named, labels) in enumerate(product(NAMED, LABELS)):
            [watch] = await made.claim(str(number), endpoints=named, labels=labels)
            await made.tell(watch, "processing", "success")
            for found in routes:
                concerned = (
                    found.endpoint in named
                    if named is not None
                    else found.source in (None, "vidu")
                    and all(labels.get(name) == value for name, value in found.labels.items())
                )
                if concerned:
                    expected |= {(str(number), found.endpoint, sequence) for sequence in wants[found.events]}
        query = "SELECT w.id, d.endpoint, d.sequence FROM deliveries d JOIN watches w ON w.pk = d.lane"
        assert set(made.rows(query)) == expected
        assert len(expected) > 90


async def test_an_event_that_nobody_asks_for_is_recorded_all_the_same(tmp_path: Path) -> None:
    """The state moves on, and the event is kept and counted."""
    async with recording(tmp_path) as made:
        [watch] = await made.claim("1")
        await made.tell(watch, "processing", "success")
        assert made.rows("SELECT state, ended FROM watches") == [("success", 1)]
        assert made.rows("SELECT type FROM events ORDER BY sequence") == [("task.state_changed",), ("task.succeeded",)]
        assert made.rows("SELECT count(*) FROM deliveries") == [(0,)]
        name = "notifier_events_total"
        assert made.metrics.registry.get_sample_value(name, {"type": "task.succeeded"}) == 1


async def test_operators_hear_of_every_endpoint_but_through_the_one_concerned(tmp_path: Path) -> None:
    """News of a dead endpoint is not sent there, whatever it asks for."""
    async with recording(tmp_path) as made:
        senders = {name: ScriptedSender() for name in ("app", "ops")}
        made.set_endpoints(senders, routes=[route(name, events=("*",)) for name in senders])
        await made.recorder.announce(
            Event(type=EventType.ENDPOINT_DISABLED, at=clock(), extra={"endpoint": "app", "reason": "x"})
        )
        await made.recorder.announce(Event(type=EventType.RELOAD_FAILED, at=clock(), extra={"problems": ["p"]}))
        await made.settled("ops", 2)
        await made.settled("app", 1)
        assert [delivery.event_type for delivery in senders["app"].begun] == ["notifier.reload_failed"]


async def test_nothing_is_offered_before_it_is_committed(tmp_path: Path) -> None:
    """Whoever is sent a delivery finds its event in the database."""
    missing: list[str] = []

    class Looking(ScriptedSender):
        async def send(self, delivery: Any, still_ours: Any) -> Any:
            if not made.rows("SELECT 1 FROM events WHERE id = ?", delivery.event_id):
                missing.append(delivery.event_id)
            return await super().send(delivery, still_ours)

    async with recording(tmp_path) as made:
        made.set_endpoints({"app": Looking()})
        watches = await made.claim(*map(str, range(40)))
        await asyncio.gather(*(made.tell(watch, "processing", "success") for watch in watches))
        await made.settled("app", 80)
        assert not missing


async def test_memory_that_is_full_leaves_the_rest_to_the_store(tmp_path: Path) -> None:
    """What there is no place for is not ours until it is claimed."""
    async with recording(tmp_path) as made:
        sender = ScriptedSender()
        sender.open.clear()
        made.set_endpoints({"app": sender}, app=endpoint(max_in_flight=1))
        watches = await made.claim(*map(str, range(30)))
        await claimed(made.dispatcher.endpoints["app"])
        await asyncio.gather(*(made.tell(watch, "success") for watch in watches))
        [(ours,)] = made.rows("SELECT count(*) FROM deliveries WHERE owner IS NOT NULL")
        assert ours == 8
        sender.open.set()
        await made.settled("app", 30)
