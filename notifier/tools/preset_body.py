"""The bodies that a simulated provider sends, made from its preset and its example. Pure.

The preset's own paths say where state, progress, error and result are written (`inverse.py`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from notifier.core.model import Json, Phase
from notifier.sources.document import find
from notifier.sources.preset import Preset, compilable
from notifier.tools.inverse import Unwritable, affirm, clear, put

NAMED_FAILURE = "failure_if_present"  # as a state: the failure that is told by a value beside any state
CODE = "simulated"  # of an error, where the user names none
RESULT = "https://example.com/results/{id}.mp4"
_SCALAR = re.compile(r"true|false|0|[1-9][0-9]{0,8}")  # as JSON writes them; `00` is a word
_MARK = b'{"step":'  # how a snapshot of ours begins; anything else is sent as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedStep:
    """One snapshot before it is put on the wire."""

    state: str  # the provider's, or `NAMED_FAILURE` with or without a number
    number: int = 0  # in the task's course, from 1; the ID of its event
    progress: float | None = None  # from 0 to 1
    code: str = ""  # of its error

    def encoded(self) -> bytes:
        """Return the payload that stands for it."""
        fields = {"step": self.number, "state": self.state, "progress": self.progress, "code": self.code}
        return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def decoded(payload: bytes) -> SimulatedStep | None:
    """Return the step that a payload stands for; None for bytes that are to be sent as they are."""
    if not payload.startswith(_MARK):
        return None
    fields = json.loads(payload)
    return SimulatedStep(state=fields["state"], number=fields["step"], progress=fields["progress"], code=fields["code"])


class PresetBodies:
    """The states of one preset, and the body for each."""

    def __init__(self, preset: Preset, example: Json) -> None:
        self.preset = preset
        self._base = example
        self._phases = {state: phase for phase, states in preset.states.items() for state in states}
        state = compilable(preset.paths.state)
        self._by_status = state == '"@status"'  # then it does not stand in the body
        self._by_name = '"@event"' in state

    def states(self, *phases: Phase) -> tuple[str, ...]:
        """List the states of phases."""
        return tuple(state for phase in phases for state in self.preset.states.get(phase, ()))

    @property
    def failures(self) -> tuple[str, ...]:
        """List everything that a failed task may end in."""
        count = len(self.preset.failure_if_present)
        named = tuple(NAMED_FAILURE + (f"-{at + 1}" if at else "") for at in range(count))
        return (*self.states(Phase.FAILED, Phase.CANCELED), *named)

    def body(self, task_id: str, step: SimulatedStep, *, event: str | None = None) -> Json:
        """Return the body of a snapshot: the example, with this task's id, state, progress, error and result.

        `event`: the name of the stream's event, which some bodies repeat as their `type`.
        """
        paths, phase = self.preset.paths, self.phase(step.state)
        body = self._base if isinstance(self._base, dict | list) else {}
        for path in (paths.error_code, paths.error_message, paths.result):
            body = body if path is None else clear(path, body)
        for path in self.preset.failure_if_present:
            body = _quiet(path, body)
        if paths.task_id is not None:
            body = put(paths.task_id, body, task_id)
        body = self._with_progress(body, step, phase)
        if not self._by_status and not self.is_name(self.carrier(step.state)):
            body = put(paths.state, body, scalar(self.carrier(step.state)))
        if event is not None and isinstance(body, dict) and "type" in body:
            body = {**body, "type": event}
        if self.preset.cursor is not None and step.number:
            body = put(self.preset.cursor.path, body, step.number)
        wanted = self.preset.result_request
        if wanted is not None and wanted.result_id is not None and phase is Phase.SUCCEEDED:
            body = put(wanted.result_id, body, task_id)
        if phase is Phase.SUCCEEDED and paths.result is not None:
            return put(paths.result, body, RESULT.format(id=task_id))
        return self._with_error(body, step) if phase in (Phase.FAILED, Phase.CANCELED) else body

    def _with_progress(self, body: Json, step: SimulatedStep, phase: Phase) -> Json:
        path = self.preset.paths.progress
        if path is None or (step.progress is None and phase is not Phase.SUCCEEDED):
            return body if path is None else clear(path, body)
        share = 1.0 if step.progress is None else step.progress
        written = _progress_like(path, self._base, share)
        return put(path, body, written)

    def _with_error(self, body: Json, step: SimulatedStep) -> Json:
        paths, code = self.preset.paths, step.code or CODE
        if (at := self._named_failure(step.state)) is not None:
            body = affirm(self.preset.failure_if_present[at], body, f"{code}: the simulated task failed")
        for path, text in ((paths.error_message, f"{code}: the simulated task failed"), (paths.error_code, code)):
            if path is not None:
                body = put(path, body, text)
        return body

    def phase(self, state: str) -> Phase:
        """Return what a state means; one that no list has is in work."""
        return Phase.FAILED if self._named_failure(state) is not None else self._phases.get(state, Phase.RUNNING)

    def _named_failure(self, state: str) -> int | None:
        """Return which of the failures that any state may have it is."""
        if state in self._phases or not state.startswith(NAMED_FAILURE) or state not in self.failures:
            return None
        return int(state.removeprefix(NAMED_FAILURE).removeprefix("-") or 1) - 1

    def is_name(self, state: str) -> bool:
        """Return whether a state is told by the name of an event, and does not stand in its body."""
        names = self.preset.state_events
        return self._by_name and (names is None or state in names)

    def carrier(self, state: str) -> str:
        """Return the state that stands in the body: a failure beside any state stands beside success."""
        return state if self._named_failure(state) is None else self.states(Phase.SUCCEEDED)[0]


def scalar(state: str) -> Json:
    """Return a state as the provider writes it: presets hold numbers and booleans as text."""
    return json.loads(state) if _SCALAR.fullmatch(state) else state


def _quiet(path: str, body: Json) -> Json:
    """Return the body without a failure that the preset names."""
    try:
        return clear(path, body)
    except Unwritable:
        return body


def _progress_like(path: str, example: Json, share: float) -> Json:
    """Return a progress in the form that the example has: from 0 to 1, from 0 to 100, `45%` or two counts."""
    found = find(path)(example)
    if isinstance(found, list) and len(found) == 2:
        return [round(100 * share), 100]
    if isinstance(found, str):
        return f"{round(100 * share)}%"
    return share if found is None or (isinstance(found, float | int) and found <= 1) else round(100 * share)
