"""Every built-in preset over real sockets: the simulator speaks its protocol, and a daemon's source reads it.

What is expected comes from the preset's own lists of states, and, for the examples, from `providers.json`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import jmespath
import pytest
import yaml

from notifier import config as configuration
from notifier.core.errors import NoStream, Refused, TaskNotFound, Unavailable
from notifier.core.model import TERMINAL, Observation, Phase
from notifier.daemon.adapters import source as make_source
from notifier.runtime.metrics import Metrics
from notifier.sources import preset as presets
from notifier.sources.poll import PollSource
from notifier.sources.sse import SseSource
from notifier.tools.preset_body import NAMED_FAILURE, RESULT, SimulatedStep, decoded
from notifier.tools.preset_route import naming_variable
from notifier.tools.preset_speech import PresetSpeech, speech_of
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript

PROVIDERS: dict[str, dict[str, Any]] = {
    entry["name"]: entry for entry in json.loads((Path(__file__).parent / "providers.json").read_text(encoding="utf-8"))
}
NAMES = presets.names()
ID = "models/m/operations/1"  # only those whose ids may hold slashes get it
TOKEN = "access-key:secret-key"


class Place:
    """A simulated provider and the source that a daemon would have of it."""

    def __init__(self, sim: Simulator, speech: PresetSpeech, source: PollSource | SseSource) -> None:
        self.sim = sim
        self.speech = speech
        self.source = source

    def id(self, text: str) -> str:
        return f"{ID}/{text}" if "{+id}" in self.speech.preset.url else text

    def steps(self, id_: str, course: Transcript) -> list[SimulatedStep]:
        """List the steps of a course; of those that are the same on a stream, the first."""
        steps = [step for step in map(decoded, course.snapshots) if step is not None]
        if isinstance(self.source, PollSource):
            return steps
        return [
            next(same) for _, same in groupby(steps, key=lambda step: (step.state, self.speech.bodies.body(id_, step)))
        ]

    async def observed(self, id_: str, count: int, *, result: bool = True) -> list[Observation]:
        """Return what the source reads of a task, with its result: each poll's, or the stream's to its end."""
        named = naming_variable(self.speech.preset, self.speech.preset.url)
        variables = {} if named is None else {named: id_}
        if isinstance(self.source, PollSource):
            answers = [await self.source.look(id_, variables=variables) for _ in range(count)]
            seen = [answer.observation for answer in answers if answer.observation is not None]
        else:
            stream = await self.source.open(id_, variables=variables)
            try:
                seen = [observation async for observation in stream]
            finally:
                stream.close()
        if not result or self.speech.preset.result_request is None or seen[-1].phase is not Phase.SUCCEEDED:
            return seen
        return [*seen[:-1], await self.source.result(id_, seen[-1])]


@asynccontextmanager
async def place(tmp_path: Path, name: str, *, token: str = TOKEN, **more: Any) -> AsyncIterator[Place]:
    """Simulate a provider, and make its source from a configuration."""
    speech = speech_of(name, presets.load(name))
    async with Simulator(speech=speech, framing=speech.framing, token=TOKEN, **more) as sim:
        named = naming_variable(speech.preset, speech.preset.url)
        variables = {key: "x" for key, value in speech.preset.variables.items() if value is None and key != named}
        written = {"preset": name, "base_url": sim.base_url, "token": token, "variables": variables}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"sources": {"mine": {**written, "result_timeout": "30s"}}}))
        source = make_source("mine", configuration.load(path).sources["mine"], Metrics())
        assert isinstance(source, PollSource | SseSource)
        try:
            yield Place(sim, speech, source)
        finally:
            await source.close()


def check(place: Place, id_: str, step: SimulatedStep, seen: Observation) -> None:
    """Compare what was read with what the provider's state means."""
    preset = place.speech.preset
    named = step.state.startswith(NAMED_FAILURE)
    phase = next((phase for phase, states in preset.states.items() if step.state in states), Phase.FAILED)
    assert seen.phase is phase
    assert seen.state == (preset.states[Phase.SUCCEEDED][0] if named else step.state)
    failed = phase in (Phase.FAILED, Phase.CANCELED)
    if failed and (named or preset.paths.error_code or preset.paths.error_message):
        assert seen.error is not None
        assert "simulated" in f"{seen.error.code} {seen.error.message}"
        assert (seen.error.code == "simulated") or preset.paths.error_code is None
        assert preset.paths.error_message is None or seen.error.message == "simulated: the simulated task failed"
    else:
        assert seen.error is None
    has_result = preset.paths.result is not None or preset.result_request is not None
    expected = (RESULT.format(id=id_),) if phase is Phase.SUCCEEDED and has_result else ()
    assert seen.urls == expected
    assert seen.result_error is None
    if preset.paths.progress is not None and phase is Phase.RUNNING:
        assert seen.progress is not None
        assert 0 < seen.progress < 100


@pytest.mark.parametrize("name", NAMES)
async def test_queued_running_success_and_each_failure_come_out_right(tmp_path: Path, name: str) -> None:
    """Phase, state, progress, error and result of every snapshot, in order, of a task for each way to end."""
    async with place(tmp_path, name) as here:
        for ending in ("", *here.speech.failures):
            course = here.speech.failing(ending) if ending else here.speech.load("documented")
            id_ = here.id(f"task-{len(here.sim.tasks)}")
            here.sim.course(id_, course)
            seen = await here.observed(id_, len(course.snapshots))
            steps = here.steps(id_, course)
            assert len(seen) == len(steps)
            for step, observation in zip(steps, seen, strict=True):
                check(here, id_, step, observation)
            assert seen[-1].phase in TERMINAL
            assert not TERMINAL & {observation.phase for observation in seen[:-1]}


@pytest.mark.parametrize("name", [name for name in NAMES if presets.load(name).transport == "poll"])
async def test_the_providers_own_example_maps_to_its_phase(tmp_path: Path, name: str) -> None:
    """The body of `providers.json`, byte for byte as JSON, for a task of the id that stands in it."""
    entry = PROVIDERS[name]
    body, path = entry["example_body"], presets.load(name).paths.task_id
    async with place(tmp_path, name) as here:
        if name == "stability":  # whose state is the status of the reply
            return
        id_ = str(jmespath.search(path, body)) if path else here.id("1")
        here.sim.push(id_, body)
        [seen] = await here.observed(id_, 1, result=False)
        state = jmespath.search(entry["state_path"], body)
        expected = {
            "success": {Phase.SUCCEEDED},
            "failure": {Phase.FAILED, Phase.CANCELED},
            "pending": {Phase.QUEUED, Phase.RUNNING},
        }
        assert [kind for kind, phases in expected.items() if state in entry[kind] and seen.phase in phases]


@pytest.mark.parametrize("name", NAMES)
async def test_an_unknown_task_and_a_wrong_token_are_told_as_such(tmp_path: Path, name: str) -> None:
    """By each of the preset's own rules, and by 404; where a stream has a twin, the twin is asked then."""
    rules = len(presets.load(name).not_found)
    async with place(tmp_path, name) as here:
        for id_ in ("unknown", *(f"unknown-{number}" for number in range(1, rules + 1))):
            with pytest.raises((TaskNotFound, NoStream)):
                await here.observed(id_, 1)
        assert not here.sim.tasks
    async with place(tmp_path, name, token="wrong:one") as here:
        if not any("{jwt}" in value for value in here.speech.preset.headers.values()):
            with pytest.raises((Refused, NoStream)):
                await here.observed(here.id("1"), 1)


@pytest.mark.parametrize("name", ["fal", "minimax", "hedra"])
async def test_a_result_is_served_only_after_success(tmp_path: Path, name: str) -> None:
    """The request for it, of a task in work, is 404; the source asks for it once the task has succeeded."""
    async with place(tmp_path, name) as here:
        seen = await here.observed("1", len(here.speech.load("documented").snapshots))
        assert seen[-1].urls == (RESULT.format(id="1"),)
        assert here.sim.outcomes["result"] == 1
        here.sim.course("2", Transcript(snapshots=(here.speech.say("running"),)))
        await here.observed("2", 1)
        assert here.speech.result("2", here.speech.say("running")).status == 404


@pytest.mark.parametrize("name", [name for name in NAMES if presets.load(name).batch is not None])
async def test_many_tasks_are_asked_for_at_once(tmp_path: Path, name: str) -> None:
    """Each is read as a single reply would be; one that is not known is not in the answer."""
    async with place(tmp_path, name) as here:
        assert isinstance(here.source, PollSource)
        course = here.speech.load("running,succeeded,failed")
        for at, payload in enumerate(course.snapshots):
            here.sim.course(f"task-{at}", Transcript(snapshots=(payload,)))
        found = (await here.source.look_at(["task-0", "unknown", "task-1", "task-2"])).found
        assert list(found) == ["task-0", "task-1", "task-2"]
        steps = [step for step in map(decoded, course.snapshots) if step is not None]
        for (id_, observation), step in zip(found.items(), steps, strict=True):
            assert isinstance(observation, Observation)
            check(here, id_, step, observation)
        assert here.sim.outcomes["batch"] == 1
        assert (await here.source.look_at(["unknown", "unknown-2"])).found == {}


@pytest.mark.parametrize("name", ["hedra-stream", "openai-response-stream"])
async def test_a_stream_that_was_cut_after_any_event_goes_on_behind_it(tmp_path: Path, name: str) -> None:
    """By Last-Event-ID, or by the cursor in its data: no state is missed, and none comes twice."""
    async with place(tmp_path, name) as here:
        assert isinstance(here.source, SseSource)
        course = here.speech.load("documented")
        expected = [step.state for step in here.steps("1", course)]
        for cut in range(1, len(course.snapshots)):
            id_ = f"cut-{cut}"
            here.sim.fault(id_, f"truncate@{cut}x1")
            states, last = list[str | None](), ""
            for _ in range(2):
                stream = await here.source.open(id_, last_event_id=last)
                with suppress(Unavailable, StopAsyncIteration):
                    while True:
                        states.append((await anext(stream)).state)
                last = stream.last_event_id or ""
            assert [state for state, _ in groupby(states)] == [state for state, _ in groupby(expected)]
            assert last == str(len(course.snapshots))


@pytest.mark.parametrize("name", [name for name in NAMES if presets.load(name).poll_twin is not None])
async def test_a_stream_s_twin_is_answered_too(tmp_path: Path, name: str) -> None:
    """The same task, polled at the other path."""
    async with place(tmp_path, name) as here:
        assert isinstance(here.source, SseSource)
        assert here.source.twin is not None
        count = len(here.speech.load("documented").snapshots)
        seen = [(await here.source.twin.look("1")).observation for _ in range(count)]
        assert [one.phase for one in seen if one][-1] is Phase.SUCCEEDED
        assert here.sim.outcomes["snapshot"] == count


async def test_faults_are_those_of_any_upstream(tmp_path: Path) -> None:
    """A status, and a stream that is reset in the middle of its named events."""
    async with place(tmp_path, "runway") as here:
        here.sim.fault("1", "429:7x1")
        with pytest.raises(Unavailable, match="429") as caught:
            await here.observed("1", 1)
        assert caught.value.retry_after == 7
        assert (await here.observed("1", 1))[0].state == "PENDING"
    async with place(tmp_path, "hedra-stream") as here:
        here.sim.fault("1", "truncate@2")
        assert isinstance(here.source, SseSource)
        stream = await here.source.open("1")
        assert [(await anext(stream)).state for _ in range(2)] == ["IN_QUEUE", "IN_PROGRESS"]
        with pytest.raises(Unavailable, match="broke"):
            await anext(stream)
        assert stream.last_event_id == "2"


def test_the_packaged_examples_are_those_of_the_facts() -> None:
    packaged = json.loads((Path(presets.__file__).parents[1] / "tools" / "data" / "examples.json").read_bytes())
    assert packaged == {name: entry["example_body"] for name, entry in PROVIDERS.items() if entry["example_body"]}
