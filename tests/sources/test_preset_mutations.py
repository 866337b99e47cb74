"""No mutation of what a provider sends gives a false end, and no fault of an upstream loses a task but by the rules.

Bodies are those of the simulator, which begin as the provider's own examples. A false end would be told to users as the
task's; a body that cannot be read is only asked for again.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polled_upstream import Answer, PolledUpstream
from structlog.testing import capture_logs

from notifier.core.errors import SourceError, Unreadable
from notifier.core.eventstream import Decoder
from notifier.core.model import TERMINAL, LostReason, Observation, Phase
from notifier.core.reconnect import WELL, Ending, GiveUp, ReconnectPolicy, after_poll
from notifier.follow.troubles import KINDS, Troubles
from notifier.runtime.metrics import Metrics
from notifier.sources import preset as presets
from notifier.sources.plan import SourceSettings
from notifier.sources.poll import PollSource
from notifier.sources.preset import Preset
from notifier.sources.snapshot import SnapshotReader
from notifier.tools.preset_body import SimulatedStep
from notifier.tools.preset_speech import PresetSpeech, speech_of

pytestmark = pytest.mark.unmeasured

SPEECHES = {name: speech_of(name, presets.load(name)) for name in presets.names()}
POLLED = [name for name, speech in SPEECHES.items() if speech.preset.transport == "poll"]
STREAMED = [name for name, speech in SPEECHES.items() if speech.preset.transport == "sse"]
ID, ANOTHER = "task-1", "task-2"
NO_ID = {  # replies of these name no task, so that nothing tells another's
    "flux-gptgod",
    "gateway-video-query",
    "kling-gateway",
    "luma-gateway",
    "pika-gateway",
    "runway-gateway",
    "xai-video",
    "zhipu",
}
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
GONE = object()  # in place of a value: the field is missing


def reader(speech: PresetSpeech) -> SnapshotReader:
    return SnapshotReader(source="test", preset=speech.preset)


def pending(speech: PresetSpeech) -> list[str]:
    """List the states of a task in work."""
    return [state for phase in (Phase.QUEUED, Phase.RUNNING) for state in speech.preset.states.get(phase, ())]


def ends(speech: PresetSpeech) -> set[str]:
    """List the words that end a task, as text."""
    return {state for phase in TERMINAL for state in speech.preset.states.get(phase, ())}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """List every place of a body."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def mutated(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a body with another value at a place, or without the place."""
    body = copy.deepcopy(body)
    inner = body
    for key in path[:-1]:
        inner = inner[key]
    if value is not GONE:
        inner[path[-1]] = value
    elif isinstance(inner, dict):
        del inner[path[-1]]
    else:
        inner.pop(path[-1])
    return body


def words(value: Any) -> Iterator[str]:
    """List the scalars of a value as states are written."""
    if isinstance(value, dict):
        for item in value.values():
            yield from words(item)
    elif isinstance(value, list):
        for item in value:
            yield from words(item)
    elif value is not GONE:
        yield value if isinstance(value, str) else json.dumps(value)


def seen(speech: PresetSpeech, data: bytes, status: int = 200, task_id: str = ID) -> Observation | None:
    """Return what a poll's reply is read as; None also where it is an error of the question."""
    try:
        return reader(speech).read_reply(data, status, task_id)
    except SourceError:
        return None


def encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize("name", POLLED)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(given_=st.data())
def test_no_mutation_of_a_task_in_work_ends_it(name: str, given_: st.DataObject) -> None:
    """Missing, null and of any type, at one to three places, in every state of a task in work.

    Left out is what would be true: a word that ends a task, and a value at an error that the preset names.
    """
    speech = SPEECHES[name]
    state = given_.draw(st.sampled_from(pending(speech)))
    body: Any = speech.bodies.body(ID, SimulatedStep(state=state, number=1, progress=0.5))
    status = int(state) if name == "stability" else 200
    for _ in range(given_.draw(st.integers(1, 3))):
        at = given_.draw(st.sampled_from([*places(body), None]))
        value = given_.draw(st.just(GONE) | VALUES)
        if at is not None and not ends(speech) & set(words(value)):
            body = mutated(body, at, value)
    named = [path for path in speech.preset.failure_if_present if "&&" not in path]
    if any(path in body for path in named if isinstance(body, dict)):
        return
    observation = seen(speech, encoded(body), status)
    assert observation is None or observation.phase not in TERMINAL


@pytest.mark.parametrize("name", POLLED)
def test_a_body_that_is_cut_anywhere_is_no_end(name: str) -> None:
    """Of a task that has ended; JSON that is cut off is none."""
    speech = SPEECHES[name]
    for state in speech.failures[:1] + tuple(speech.preset.states[Phase.SUCCEEDED][:1]):
        reply = speech.reply(ID, SimulatedStep(state=state, number=1).encoded())
        whole = seen(speech, reply.body, reply.status)
        assert whole is not None
        assert whole.phase in TERMINAL
        if name != "stability":  # whose status is the state
            cuts = range(0, len(reply.body), max(1, len(reply.body) // 60))
            assert not [cut for cut in cuts if seen(speech, reply.body[:cut], reply.status) is not None]


@pytest.mark.parametrize("name", [name for name in POLLED if name not in NO_ID])
def test_the_end_of_another_task_is_not_this_ones(name: str) -> None:
    """Nor one whose id is a prefix of it."""
    speech = SPEECHES[name]
    for state in ("succeeded", *speech.failures[:1]):
        reply = speech.reply(ANOTHER, speech.say(state))
        for task_id in (ID, ANOTHER[:-1], ANOTHER + "0"):
            with pytest.raises(Unreadable, match="another task"):
                reader(speech).read_reply(reply.body, reply.status, task_id)


def test_only_these_replies_name_no_task() -> None:
    assert {name for name in POLLED if SPEECHES[name].preset.paths.task_id is None} == NO_ID


@pytest.mark.parametrize("name", POLLED)
@pytest.mark.parametrize("status", [204, 301, 304, 401, 404, 408, 409, 418, 429, 500, 502, 503, 504])
def test_the_body_of_an_error_is_no_end(name: str, status: int) -> None:
    """Whatever a gateway puts into it; and no state but that of a status is read from one."""
    speech = SPEECHES[name]
    for state in ("succeeded", *speech.failures):
        body = speech.reply(ID, speech.say(state)).body
        assert seen(speech, body, status) is None


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("body", [b"", b"<html>blocked</html>", b"denied", b"[]", b"null", b'"no"'])
def test_a_status_alone_is_no_failure(status: int, body: bytes) -> None:
    """A firewall's 403 is no word of the provider."""
    assert seen(SPEECHES["stability"], body, status) is None


@pytest.mark.parametrize("name", STREAMED)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(given_=st.data())
def test_no_mutation_of_an_event_ends_a_task_in_work(name: str, given_: st.DataObject) -> None:
    """Of its data, its name, and by cutting the bytes."""
    speech = SPEECHES[name]
    states = pending(speech)
    if not states:
        return
    state = given_.draw(st.sampled_from(states))
    body = speech.bodies.body(ID, SimulatedStep(state=state, number=1))
    at = given_.draw(st.sampled_from([*places(body)]))
    value = given_.draw(st.just(GONE) | VALUES)
    mutant = body if ends(speech) & set(words(value)) else mutated(body, at, value)
    if any(path in mutant for path in speech.preset.failure_if_present):
        return
    event = given_.draw(
        st.sampled_from(["message", "status", "log", "error", "ping", *(speech.preset.state_events or ())])
    )
    data = encoded(mutant)
    data = data[: given_.draw(st.integers(1, len(data)))]
    decoder = Decoder(framing=speech.preset.framing)
    one = reader(speech)
    for received in decoder.feed(b"event: %b\ndata: %b\n\n" % (event.encode(), data)):
        try:
            observation = one.read_event(received)
        except SourceError:
            continue
        assert not isinstance(observation, Observation) or observation.phase not in TERMINAL


# -- an upstream that misbehaves for an hour: its answers over real sockets, the hours by arithmetic

HOUR = 3600
POLICY = ReconnectPolicy(backoff_initial=1.0, backoff_max=60.0, not_found_grace=60.0, give_up_after=float(HOUR))
DESCRIBED: dict[str, Any] = {
    "transport": "poll",
    "url": "{base_url}/jobs/{id}",
    "paths": {"state": "status", "task_id": "id"},
    "states": {"running": ["busy"], "succeeded": ["ok"], "failed": ["bad"]},
    "poll": {"interval": "5s", "max_interval": "60s"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An answer, and what it comes to when it goes on for long."""

    answer: Answer
    kind: str
    lost: LostReason | None = None
    after: int = HOUR  # seconds until then


CASES = {
    "500": Case(answer=Answer(status=500, body={"id": "1", "status": "ok"}), kind="unavailable"),
    "503 that says when": Case(answer=Answer(status=503, headers={"Retry-After": "300"}), kind="unavailable"),
    "429": Case(answer=Answer(status=429, body={"id": "1", "status": "bad"}), kind="unavailable"),
    "a page": Case(answer=Answer(body=b"<html>ok</html>"), kind="unavailable"),
    "204": Case(answer=Answer(status=204), kind="no_content"),
    "empty": Case(answer=Answer(body=b""), kind="unreadable", lost=LostReason.UNREADABLE),
    "wrong JSON": Case(answer=Answer(body=b'{"status": ok}'), kind="unreadable", lost=LostReason.UNREADABLE),
    "a list": Case(answer=Answer(body=[{"id": "1", "status": "ok"}]), kind="unreadable", lost=LostReason.UNREADABLE),
    "another task": Case(
        answer=Answer(body={"id": "2", "status": "ok"}), kind="unreadable", lost=LostReason.UNREADABLE
    ),
    "redirects for ever": Case(
        answer=Answer(status=307, headers={"Location": "/jobs/1"}), kind="unreadable", lost=LostReason.UNREADABLE
    ),
    "401": Case(answer=Answer(status=401, body={"id": "1", "status": "bad"}), kind="refused", lost=LostReason.REFUSED),
    "404": Case(answer=Answer(status=404, body={"id": "1", "status": "bad"}), kind="not_found",
                lost=LostReason.NOT_FOUND, after=60),
}  # fmt: skip


@asynccontextmanager
async def asked(answer: Answer) -> AsyncIterator[PollSource]:
    """Serve one answer to a source that polls."""
    async with PolledUpstream([answer]) as upstream:
        described = Preset.model_validate(DESCRIBED | {"base_url": upstream.url})
        settings_ = SourceSettings(preset=described, token="t", connect_timeout=30.0)
        source = PollSource(name="mine", settings=settings_, user_agent="test", metrics=Metrics())
        try:
            yield source
        finally:
            await source.close()


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
async def test_an_upstream_that_misbehaves_ends_no_task_but_by_the_rules(case: Case) -> None:
    """It is asked ever more slowly, never more often than by the interval, logged once, and lost when it is due."""
    async with asked(case.answer) as source:
        with pytest.raises(SourceError) as caught:
            await source.look("1")
    error = caught.value
    assert error.kind == case.kind
    pace = Preset.model_validate(DESCRIBED).poll.pause
    dice, health, now, delays = random.Random(1), WELL, 0.0, list[float]()
    troubles, lost = Troubles("mine", now=lambda: now), None
    with capture_logs() as logs:
        while now <= 2 * HOUR:
            troubles.begin(1, error, observed=False)
            decision = after_poll(
                Ending(error=error), health, POLICY, pause=pace, now=round(now * 1e6), jitter=dice.random()
            )
            if isinstance(decision, GiveUp):
                lost = decision.reason
                break
            delays.append(decision.delay)
            health, now = decision.health, now + decision.delay
    assert lost is case.lost
    if lost is not None:
        assert case.after <= now < case.after + 1, "neither earlier nor later"
    whole = delays if lost is None else delays[:-1]  # the last one ends with the patience
    assert all(delay >= 5 for delay in whole), "never more often than by the interval"
    assert all(delay <= (300 if "Retry-After" in case.answer.headers else 66) for delay in delays)
    if case.after == HOUR:
        late = delays[len(delays) // 2 : -1]
        assert sum(late) / len(late) >= 20, "ever more slowly"
    if "Retry-After" in case.answer.headers:
        assert min(delays) >= 300
    warned = [entry["event"] for entry in logs]
    assert warned == ([f"source.{case.kind}"] if case.kind in KINDS else [])


async def test_an_hour_of_errors_is_followed_by_the_end_that_came_meanwhile() -> None:
    """The task ended during the outage: the next poll that is answered tells it."""
    async with PolledUpstream([Answer(status=500)]) as upstream:
        described = Preset.model_validate(DESCRIBED | {"base_url": upstream.url})
        settings_ = SourceSettings(preset=described, token="t", connect_timeout=30.0)
        source = PollSource(name="mine", settings=settings_, user_agent="test", metrics=Metrics())
        try:
            for _ in range(20):
                with pytest.raises(SourceError):
                    await source.look("1")
            upstream.script("1", Answer(body={"id": "1", "status": "ok"}))
            answer = await asyncio.wait_for(source.look("1"), 60)
            assert answer.observation is not None
            assert answer.observation.phase is Phase.SUCCEEDED
        finally:
            await source.close()
