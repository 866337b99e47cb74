"""Providers that name their events: which ones carry a state, and which one ends the stream."""

from __future__ import annotations

from typing import Any

import pytest
from raw_upstream import UNTIL_CLOSED_HEAD, Upstream, following, read_all, serve, stay

from notifier.core.errors import Unreadable
from notifier.core.eventstream import StreamEvent
from notifier.core.model import Json, Observation, Phase
from notifier.sources import preset as presets
from notifier.sources.preset import Preset
from notifier.sources.snapshot import Aside, SnapshotReader

STATES = {"running": ["starting", "running"], "succeeded": ["done", "completed"], "failed": ["error"]}


def reader(**fields: Any) -> SnapshotReader:
    preset = Preset.model_validate({"url": "http://upstream.example/{id}", "states": STATES, **fields})
    return SnapshotReader(source="upstream", preset=preset)


def read(name: str, data: bytes, **fields: Any) -> Observation | None:
    told = reader(**fields).read_event(StreamEvent(data, name, "7"))
    assert not isinstance(told, Aside)
    return told


def brief(observation: Observation | None) -> tuple[str | None, Phase, Json] | None:
    return None if observation is None else (observation.state, observation.phase, observation.task)


@pytest.mark.parametrize(
    ("state", "name", "data", "expected"),
    [
        ("@event", "done", b"{}", ("done", Phase.SUCCEEDED, {})),
        ("@event", "error", b'"no"', ("error", Phase.FAILED, "no")),
        ("@event", "done", b"[STREAM_DONE]", ("done", Phase.SUCCEEDED, "[STREAM_DONE]")),
        ("@event", "done", b"", ("done", Phase.SUCCEEDED, "")),
        ('"@event"', "done", b"{}", ("done", Phase.SUCCEEDED, {})),  # quoted as JMESPath has it
        ('state || "@event"', "completed", b"[DONE]", ("completed", Phase.SUCCEEDED, "[DONE]")),
        ("state || @event", "output", b'{"state":"running"}', ("running", Phase.RUNNING, {"state": "running"})),
        ("state || @event", "completed", b"{}", ("completed", Phase.SUCCEEDED, {})),
        ("not_null(job.state, @event)", "done", b'{"job":{}}', ("done", Phase.SUCCEEDED, {"job": {}})),
    ],
)
def test_a_path_sees_the_name(state: str, name: str, data: bytes, expected: tuple[str, Phase, Json]) -> None:
    """Alone or in an expression; the snapshot that is told holds nothing that the upstream did not send."""
    observation = read(name, data, paths={"state": state})
    assert brief(observation) == expected
    assert observation is not None
    assert observation.event_id == "7"


def test_a_failure_by_name() -> None:
    """`failure_if_present` sees the name too."""
    fields: dict[str, Any] = {"failure_if_present": ["@event == 'refused'"]}
    assert brief(read("refused", b'{"state":"running"}', **fields)) == ("running", Phase.FAILED, {"state": "running"})
    assert brief(read("message", b'{"state":"running"}', **fields)) == ("running", Phase.RUNNING, {"state": "running"})


def test_a_word_that_only_looks_like_the_name_stays() -> None:
    """In a literal, and as a part of a longer word."""
    assert brief(read("x", b'{"state":"running"}', paths={"state": "state", "result": "join('@event', ['a'])"})) == (
        "running",
        Phase.RUNNING,
        {"state": "running"},
    )


def test_only_named_events_carry_a_state() -> None:
    """Others are passed over, whatever they hold, except for an error that the preset names."""
    fields: dict[str, Any] = {"state_events": ["status"], "failure_if_present": ["error"]}
    assert brief(read("status", b'{"state":"running"}', **fields)) == ("running", Phase.RUNNING, {"state": "running"})
    for data in (b'{"state":"done"}', b"not JSON", b"[]", b'{"error":null}'):
        assert read("log", data, **fields) is None
        assert read("message", data, **fields) is None
    failed = read("error", b'{"error":{"code":"quota"}}', **fields)
    assert failed is not None
    assert (failed.state, failed.phase, failed.error and failed.error.code) == (None, Phase.FAILED, "quota")
    with pytest.raises(Unreadable):
        read("status", b"not JSON", **fields)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("done", b"[STREAM_DONE]", ("done", Phase.SUCCEEDED, "[STREAM_DONE]")),
        ("done", b"{}", ("done", Phase.SUCCEEDED, {})),
        ("done", b"", ("done", Phase.SUCCEEDED, None)),
        ("done", b'{"state":"error"}', ("error", Phase.FAILED, {"state": "error"})),
        ("bye", b"{}", None),
        ("bye", b'{"state":"completed"}', ("completed", Phase.SUCCEEDED, {"state": "completed"})),
    ],
)
def test_the_end_event(name: str, data: bytes, expected: tuple[str, Phase, Json] | None) -> None:
    """Its data tells the state, or else its name does, if it is listed."""
    assert brief(read(name, data, end_event=name, state_events=["status"])) == expected


UPSTREAMS: dict[str, tuple[bytes, dict[str, Any], list[str]]] = {
    "replicate": (
        b'id: 1:0\nevent: output\ndata: {"state":"running"}\n\nid: 2:0\nevent: done\ndata: {}\n\n',
        {"paths": {"state": "state || @event"}},
        ["running", "done"],
    ),
    "cog": (
        b'event: start\ndata: {"status":"starting"}\n\nevent: log\ndata: hello\n\nevent: completed\ndata:\n\n',
        {"paths": {"state": "status || @event"}, "state_events": ["start", "completed"]},
        ["starting", "completed"],
    ),
    "hedra": (
        b'event: status\ndata: {"state":"running"}\n\nevent: log\ndata: {"level":"info"}\n\n'
        b'event: status\ndata: {"state":"completed"}\n\nevent: done\ndata: [STREAM_DONE]\n\n',
        {
            "state_events": ["status"],
            "end_event": "done",
            "states": {"running": ["running"], "succeeded": ["completed"]},
        },
        ["running", "completed"],
    ),
    "the same data under another name": (
        b"event: starting\ndata: {}\n\nevent: running\ndata: {}\n\nevent: done\ndata: {}\n\n",
        {"paths": {"state": "@event"}},
        ["starting", "running", "done"],
    ),
}


@pytest.mark.parametrize("provider", UPSTREAMS)
async def test_streams_of_named_events(provider: str) -> None:
    """Each state is told once, and nothing is unreadable; the upstream keeps its connection open."""
    body, fields, expected = UPSTREAMS[provider]
    fields = {"states": STATES, **fields}
    async with (
        serve(stay(UNTIL_CLOSED_HEAD, body)) as upstream,
        following(upstream.url, preset="generic", framing="event", **fields) as here,
    ):
        stream = await here.source.open("1")
        assert [(await anext(stream)).state for _ in expected] == expected
        assert here.unreadable == 0
        stream.close()


async def test_nothing_is_read_behind_the_end_event() -> None:
    """The stream ends there, though the upstream sends on and stays."""
    body = b'data: {"state":"running"}\n\nevent: bye\ndata: x\n\ndata: {"state":"done"}\n\n'
    async with serve(stay(UNTIL_CLOSED_HEAD, body)) as upstream:
        await _reads(upstream, ["running"], end_event="bye", states=STATES)


async def _reads(upstream: Upstream, expected: list[str], **fields: Any) -> None:
    async with following(upstream.url, preset="generic", framing="event", **fields) as here:
        stream = await here.source.open("1")
        assert await read_all(stream) == (expected, None)
        assert stream.unread is None


async def test_fals_pings_are_no_states() -> None:
    """A comment comes every 15 s, which the preset is patient enough for; the last state ends the stream."""
    states = ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    told = [b'data: {"status":"%b","request_id":"1"}\n\n' % state.encode() for state in states]
    body = b": ping\n\n" + b": ping\n\n: ping\n\n".join(told)
    preset = presets.load("fal-stream")
    assert (preset.idle_timeout or 0) >= 40
    async with (
        serve(stay(UNTIL_CLOSED_HEAD, body)) as upstream,
        following(upstream.url, preset="fal-stream", variables=dict.fromkeys(preset.variables, "x")) as here,
    ):
        stream = await here.source.open("1")
        assert [(await anext(stream)).state for _ in states] == states
        assert here.unreadable == 0
        stream.close()
