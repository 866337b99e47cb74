"""A preset's protocol, spoken by the simulated upstream: its paths, states, failures, unknown tasks and results. Pure.

Everything follows from the preset itself. A body begins as the provider's example, where there is one, and the preset's
own paths say where state, progress, error and result are written (`inverse.py`). A speech that the preset would not
read back as meant is refused when it is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from notifier.core.errors import SourceError
from notifier.core.eventstream import Decoder, StreamEvent
from notifier.core.model import TERMINAL, Json, Observation, Phase
from notifier.sources.preset import Preset, compilable, load, names
from notifier.sources.snapshot import SnapshotReader
from notifier.tools.faults import error_body
from notifier.tools.inverse import Unwritable, affirm, put
from notifier.tools.preset_body import RESULT, PresetBodies, SimulatedStep, decoded, scalar
from notifier.tools.preset_route import PresetRoute, naming_variable
from notifier.tools.speech import Question, SpeechReply, Want
from notifier.tools.transcript import Framing, Transcript, parse_lines, parse_steps
from notifier.tools.wire import HttpRequest

RUNNING = 3  # snapshots of each state in work, so that progress is seen
_STATE = r"[^\s,:*][^,:*]*?"  # some providers' states hold blanks
_PHASES = {phase.value for phase in Phase}
_HTTP_STATUS = re.compile(r"[2-5][0-9]{2}")
_UNFIT = re.compile(r"unknown-(\d+)")


def speech_of(name: str, preset: Preset) -> PresetSpeech:
    """Return the protocol of a preset, with the example of a built-in one. Raises ValueError."""
    examples: dict[str, Json] = json.loads(files("notifier.tools").joinpath("data", "examples.json").read_bytes())
    twin = None
    if preset.poll_twin is not None and preset.poll_twin in names():
        twin = PresetSpeech(preset.poll_twin, load(preset.poll_twin), example=examples.get(preset.poll_twin))
    return PresetSpeech(name, preset, example=examples.get(name), twin=twin)


class PresetSpeech:
    """The protocol of one preset."""

    def __init__(self, name: str, preset: Preset, *, example: Json = None, twin: PresetSpeech | None = None) -> None:
        """Create the protocol. `example`: the provider's body, or the text of its stream; `twin` answers polls.

        Raises ValueError for a preset without a state of success, or with paths that cannot be written or would not be
        read back as meant.
        """
        if not preset.states.get(Phase.SUCCEEDED):
            raise ValueError(f"the preset {name} cannot be simulated: it has no state of success")
        self.name = name
        self.preset = preset
        self.method: str = preset.method
        self.framing: Framing = preset.framing
        self._stream = preset.transport == "sse"
        self._route = PresetRoute(preset, preset.url)
        wanted = preset.result_request
        self._result_route = None if wanted is None else PresetRoute(preset, wanted.url)
        self._batch_route = None if preset.batch is None else PresetRoute(preset, preset.batch.url)
        self._twin = twin
        self._phases = {state: phase for phase, states in preset.states.items() for state in states}
        self._by_status = compilable(preset.paths.state) == '"@status"'
        self._by_name = '"@event"' in compilable(preset.paths.state)
        self._reader = SnapshotReader(source="simulator", preset=preset)
        self._events = _events(preset, example) if isinstance(example, str) else ()
        spoken = next((_parsed(event) for event in self._events if self._carries_state(event)), example)
        self.bodies = PresetBodies(preset, spoken)
        self._numbered = any(event.last_event_id for event in self._events)  # its events have ids
        self._check()

    # -- what it can say

    @property
    def failures(self) -> tuple[str, ...]:
        """List everything that a failed task may end in."""
        return self.bodies.failures

    def resolved(self, word: str) -> str:
        """Return the provider's state for a phase of ours; another word is a state. Raises ValueError."""
        if word in self._phases or word in self.failures:
            return word
        if self._by_status and word not in _PHASES and not _HTTP_STATUS.fullmatch(word):
            raise ValueError(f"the states of the preset {self.name} are HTTP statuses, which {word!r} is none of")
        if word not in _PHASES:
            return word
        phase = Phase(word)
        found = self.bodies.states(phase) or (self.failures if phase in (Phase.FAILED, Phase.CANCELED) else ())
        if not found:
            raise ValueError(f"the preset {self.name} has no state that is {word}")
        return found[0]

    def load(self, text: str) -> Transcript:
        """Read `documented`, `@FILE` with snapshots as they are, or states of the provider or of ours."""
        if text == "documented":
            return self._course(self.bodies.states(Phase.SUCCEEDED)[0])
        if text.startswith("@"):
            return parse_lines(Path(text[1:]).read_bytes())
        words = [(self.resolved(word), code) for word, code in parse_steps(text, state=_STATE)]
        return Transcript(snapshots=tuple(step.encoded() for step in self._steps(words)))

    def failing(self, state: str) -> Transcript:
        """Return the snapshots of a task that ends in `state`; empty: in the first failure. Raises ValueError."""
        ending = self.resolved(state) if state else next(iter(self.failures), "")
        if ending not in self.failures:
            known = ", ".join(self.failures) or "none"
            raise ValueError(f"{state or 'failed'!r} is no failure of the preset {self.name}; there are: {known}")
        return self._course(ending)

    def say(self, state: str) -> bytes:
        """Return a snapshot with a state of the provider's or of ours. Raises ValueError."""
        return SimulatedStep(state=self.resolved(state)).encoded()

    def _course(self, ending: str) -> Transcript:
        running = [state for state in self.bodies.states(Phase.RUNNING) for _ in range(RUNNING)]
        words = [(state, "") for state in (*self.bodies.states(Phase.QUEUED), *running, ending)]
        return Transcript(snapshots=tuple(step.encoded() for step in self._steps(words)))

    def _steps(self, words: list[tuple[str, str]]) -> Iterator[SimulatedStep]:
        running = sum(self._phases.get(state) is Phase.RUNNING for state, _ in words)
        done = 0
        for number, (state, code) in enumerate(words, 1):
            done += self._phases.get(state) is Phase.RUNNING
            share = round(done / (running + 1), 2) if self._phases.get(state) is Phase.RUNNING else None
            yield SimulatedStep(state=state, number=number, progress=share, code=code)

    # -- requests

    def understand(self, request: HttpRequest) -> Question | None:
        """Return what a request asks for."""
        id_, polled = self._route.find(request), None if self._twin is None else self._twin.understand(request)
        if polled is not None and polled.id and not id_:
            return polled
        if id_ is not None:
            if self._stream:
                return Question(want=Want.STREAM, id=id_, after=self._place(request))
            return Question(want=Want.SNAPSHOT, id=id_)
        if self._batch_route is not None and self._batch_route.find(request) is not None:
            ids = self._ids(request)
            return Question(want=Want.BATCH, id=next(iter(ids), ""), ids=ids)
        if polled is not None:
            return polled
        if self._result_route is not None and (id_ := self._result_route.find(request)) is not None:
            return Question(want=Want.RESULT, id=id_)
        return None

    def _place(self, request: HttpRequest) -> int | None:
        """Return the number of the last snapshot that a client has, by the means of the preset."""
        if self.preset.cursor is not None:
            text = request.query.get(self.preset.cursor.parameter, "")
        else:
            text = request.headers.get("last-event-id", "") if self._numbered else ""
        return int(text) if text.isascii() and text.isdecimal() else None

    def _ids(self, request: HttpRequest) -> tuple[str, ...]:
        """Return the ids of a request for several tasks."""
        assert self.preset.batch is not None
        assert self._batch_route is not None
        if self.preset.batch.method == "GET":
            return tuple((self._batch_route.find(request) or "").split(","))
        try:
            listed = json.loads(request.body)[self.preset.batch.ids]
        except (ValueError, LookupError, TypeError):
            return ()
        return tuple(map(str, listed)) if isinstance(listed, list) else ()

    def admits(self, request: HttpRequest, token: str) -> bool:
        """Return whether one of the headers, or the URL, carries the token; a signed one is not verified."""
        templates = {name.lower(): value for name, value in self.preset.headers.items()}
        wanted = {name: value for name, value in templates.items() if "{token}" in value or "{jwt}" in value}
        if any(_carries(value, request.headers.get(name, ""), token) for name, value in wanted.items()):
            return True
        return self._route.token(request) == token if "{token}" in self.preset.url else not wanted

    # -- answers

    def state_of(self, payload: bytes) -> str:
        """Return the state that a snapshot reports, or `?` if it reports none."""
        if (step := decoded(payload)) is not None:
            return step.state
        try:
            return self._reader.read(payload).state or "?"
        except SourceError:
            return "?"

    def ends(self, payload: bytes) -> bool:
        """Return whether a snapshot is a task's last."""
        state = self.state_of(payload)
        return state in self.failures or self._phases.get(state) in TERMINAL

    def reply(self, task_id: str, payload: bytes) -> SpeechReply:
        """Return the answer to a poll."""
        step = decoded(payload)
        if self._twin is not None:
            return self._twin.reply(task_id, payload if step is None else self._for_twin(step, self._twin).encoded())
        if step is None:
            return SpeechReply(status=200, body=payload)
        status = int(self.bodies.carrier(step.state)) if self._by_status else 200
        return SpeechReply(status=status, body=_json(self.bodies.body(task_id, step)))

    def _for_twin(self, step: SimulatedStep, twin: PresetSpeech) -> SimulatedStep:
        """Return a step in the words of the polls, which may have others for a phase than the stream."""
        if step.state in twin.bodies.states(*Phase) or step.state in twin.failures:
            return step
        phase = self._phases.get(step.state, Phase.FAILED)
        words = twin.bodies.states(phase) or twin.failures
        return replace(step, state=words[0]) if words else step

    def frame(self, task_id: str, payload: bytes, framing: Framing, eol: bytes) -> bytes:
        """Return a snapshot as it is written to a stream, with the event that ends the stream behind the last."""
        step, end = decoded(payload), eol if framing == "line" else eol + eol
        if step is None:
            return b"data: " + payload + end
        text = self._aside(eol, end) if step.number == 1 else b""
        lines = []
        name = self._event_name(step.state)
        if name is not None:
            lines.append(b"event: " + name.encode())
        if step.number and self._numbered:
            lines.append(b"id: %d" % step.number)
        lines.append(b"data: " + _json(self.bodies.body(task_id, step, event=name)))
        text += eol.join(lines) + end
        if self.preset.end_event is not None and self.ends(payload) and not self._by_name:
            data = next((event.data for event in self._events if event.type == self.preset.end_event), b"{}")
            text += b"event: " + self.preset.end_event.encode() + eol + b"data: " + data + end
        return text

    def _aside(self, eol: bytes, end: bytes) -> bytes:
        """Return the example's events that carry no state: a source has to pass over them."""
        names = self.preset.state_events
        asides = (event for event in self._events if names and event.type not in (*names, self.preset.end_event))
        return b"".join(b"event: " + event.type.encode() + eol + b"data: " + event.data + end for event in asides)

    def result(self, task_id: str, payload: bytes) -> SpeechReply:
        """Return the answer to a request for the result: there is one once the task has succeeded."""
        wanted = self.preset.result_request
        if wanted is None or self._phases.get(self.state_of(payload)) is not Phase.SUCCEEDED:
            return SpeechReply(status=404, body=error_body("there is no result yet"))
        return SpeechReply(status=200, body=_json(put(wanted.result, {}, RESULT.format(id=task_id))))

    def together(self, payloads: Mapping[str, bytes]) -> SpeechReply:
        """Return the answer about several tasks, each in the form of a single reply."""
        assert self.preset.batch is not None
        bodies = [json.loads(self.reply(task_id, payload).body) for task_id, payload in payloads.items()]
        return SpeechReply(status=200, body=_json(put(self.preset.batch.items, {}, bodies)))

    def unknown(self, task_id: str) -> SpeechReply:
        """Return the answer about a task that is not known.

        It is the first of the preset's rules, the second for the id `unknown-2` and so on, or 404 where it has none.
        """
        rules = self.preset.not_found
        if not task_id or not rules:
            return SpeechReply(status=404, body=error_body("not found"))
        found = _UNFIT.match(task_id)
        rule = rules[(int(found[1]) - 1 if found else 0) % len(rules)]
        status = 200 if rule.status is None else rule.status
        if rule.empty or (rule.path is None and status == 204):
            return SpeechReply(status=status, body=b"")
        body: Json = {"message": "the task is not known"}
        if rule.path is not None and rule.values:
            body = put(rule.path, body, scalar(rule.values[0]))
        elif rule.path is not None:
            body = affirm(rule.path, body, "the task is not known")
        return SpeechReply(status=status, body=_json(body))

    def introduction(self, base_url: str, token: str) -> str:
        """Return a request and a configuration to copy."""
        named = naming_variable(self.preset, self.preset.url)
        watches = (
            '"1", "2", "3"'
            if named is None
            else ", ".join(f'{{id: "{n}", variables: {{{named}: "{n}"}}}}' for n in "123")
        )
        unset = (name for name, value in self.preset.variables.items() if value is None and name != named)
        missing = ", ".join(f"{name}: x" for name in unset)
        variables = f", variables: {{{missing}}}" if missing else ""
        floor = ", floor: null" if self.preset.poll.floor else ""
        faster = "" if self._stream else f", poll: {{interval: 1s{floor}}}"
        headers = "".join(
            f" -H '{name}: {_shown(value, token)}'" for name, value in self.preset.headers.items() if "{" in value
        )
        flags = " -N" if self._stream else ""
        return f"""simulating {self.preset.title or self.name} on {base_url}

  states: {", ".join(self.bodies.states(Phase.QUEUED, Phase.RUNNING, Phase.SUCCEEDED))}
  --fail: {", ".join(self.failures) or "it has no failures"}

  curl{flags}{headers} '{self._route.example(base_url, "1")}'

  sources:
    {self.name}: {{preset: {self.name}, base_url: "{base_url}", token: "{token}"{variables}{faster}}}
  watches: [{watches}]
"""

    def _event_name(self, state: str) -> str | None:
        """Return the name of the event that carries a state; None: it has none."""
        if not self._stream:
            return None
        names, carried = self.preset.state_events, self.bodies.carrier(state)
        if self._by_name:
            return carried if self.bodies.is_name(carried) else self.bodies.states(Phase.SUCCEEDED)[0]
        if names is None:
            return None
        return next((name for name in names if name == carried or name.endswith(f".{carried}")), names[0])

    def _carries_state(self, event: StreamEvent) -> bool:
        try:
            return isinstance(self._reader.read_event(event), Observation)
        except SourceError:
            return False

    # -- the proof

    def _check(self) -> None:
        """Read back whatever can be said. Raises ValueError."""
        try:
            for state in (*self._phases, *self.failures):
                self._check_state(state)
        except Unwritable as exc:
            raise ValueError(f"the preset {self.name} cannot be simulated: {exc}") from exc

    def _check_state(self, state: str) -> None:
        payload = SimulatedStep(state=state, number=2).encoded()  # with nothing before it
        try:
            if self._stream:
                decoder = Decoder(framing=self.preset.framing)
                event = decoder.feed(self.frame("1", payload, self.preset.framing, b"\n"))[0]
                seen = self._reader.read_event(event, "1")
            else:
                answer = self.reply("1", payload)
                seen = self._reader.read_reply(answer.body, answer.status, "1")
        except SourceError as exc:
            raise ValueError(f"the preset {self.name} cannot be simulated: {state}: {exc}") from exc
        if not isinstance(seen, Observation) or seen.phase is not self.bodies.phase(state):
            told = seen.phase if isinstance(seen, Observation) else "nothing"
            raise ValueError(f"the preset {self.name} cannot be simulated: {state} is read as {told}")


def _events(preset: Preset, text: str) -> tuple[StreamEvent, ...]:
    """Return the events of an example of a stream."""
    decoder = Decoder(framing=preset.framing)
    return (*decoder.feed(text.encode()), *decoder.finish())


def _parsed(event: StreamEvent) -> Json:
    try:
        return json.loads(event.data)
    except ValueError:
        return None


def _json(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _carries(template: str, value: str, token: str) -> bool:
    """Return whether a header is what its template and the token make."""
    if "{jwt}" in template:
        return value.count(".") == 2
    return value == template.replace("{token}", token)


def _shown(template: str, token: str) -> str:
    """Return a header to try."""
    values = {"token": token, "jwt": "JWT", "uuid": "00000000-0000-4000-8000-000000000000"}
    return re.sub(r"\{(\w+)\}", lambda place: values.get(place[1], "x"), template)
