"""How a simulated upstream speaks: which request asks for which task, and how a snapshot is put on the wire. Pure.

The documented API is spoken here, any preset's protocol in `preset_speech.py`. Both are values that never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from notifier.tools.faults import error_body
from notifier.tools.transcript import (
    TERMINAL_STATES,
    Framing,
    Transcript,
    documented,
    frame,
    load,
    snapshot,
    state_of,
)
from notifier.tools.wire import HttpRequest

DOCUMENTED_PATH = "/vidu/v1/tasks/state"


class Want(Enum):
    """What a request asks for."""

    STREAM = "stream"  # of a task's snapshots
    SNAPSHOT = "snapshot"  # a task's current one
    RESULT = "result"  # of a task that has succeeded
    BATCH = "batch"  # the current snapshots of several tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request that was understood."""

    want: Want
    id: str  # of the task, or of the first of several; empty: it is missing
    ids: tuple[str, ...] = ()  # of all of several tasks
    after: int | None = None  # the number of the last snapshot of a stream that the client has; None: it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechReply:
    """A complete answer."""

    status: int
    body: bytes


class Speech(Protocol):
    """The protocol of an upstream."""

    method: str  # of requests
    framing: Framing  # of streams

    def understand(self, request: HttpRequest) -> Question | None:
        """Return what a request asks for; None for a path that is none of the upstream's."""
        ...

    def admits(self, request: HttpRequest, token: str) -> bool:
        """Return whether a request carries the token."""
        ...

    def load(self, text: str) -> Transcript:
        """Read a transcript of a command line; `documented` is the usual one. Raises ValueError and OSError."""
        ...

    def failing(self, state: str) -> Transcript:
        """Return the snapshots of a task that ends in `state`; empty: in the usual failure. Raises ValueError."""
        ...

    def state_of(self, payload: bytes) -> str:
        """Return the state that a snapshot reports, or `?` if it reports none."""
        ...

    def ends(self, payload: bytes) -> bool:
        """Return whether a snapshot is a task's last."""
        ...

    def say(self, state: str) -> bytes:
        """Return a snapshot with a state."""
        ...

    def frame(self, task_id: str, payload: bytes, framing: Framing, eol: bytes) -> bytes:
        """Return a snapshot as it is written to a stream."""
        ...

    def reply(self, task_id: str, payload: bytes) -> SpeechReply:
        """Return the answer to a poll."""
        ...

    def result(self, task_id: str, payload: bytes) -> SpeechReply:
        """Return the answer to a request for the result, where `payload` is the task's current snapshot."""
        ...

    def together(self, payloads: Mapping[str, bytes]) -> SpeechReply:
        """Return the answer about several tasks, by the snapshot of each that is known."""
        ...

    def unknown(self, task_id: str) -> SpeechReply:
        """Return the answer about a task that is not known; an empty id is one that is missing."""
        ...

    def introduction(self, base_url: str, token: str) -> str:
        """Return a request and a configuration to copy."""
        ...


class DocumentedSpeech:
    """The documented API of the gateway.

    `GET /vidu/v1/tasks/state?id=ID` and `GET /tasks/ID/events` answer with a stream, `GET /tasks/ID` with a snapshot.
    """

    method = "GET"
    framing: Framing = "line"

    def understand(self, request: HttpRequest) -> Question | None:
        """Return what a request asks for."""
        if request.path == DOCUMENTED_PATH:
            return Question(want=Want.STREAM, id=request.query.get("id", ""))
        parts = request.path.split("/")
        if parts[:2] == ["", "tasks"] and (len(parts) == 3 or parts[3:] == ["events"]):
            return Question(want=Want.STREAM if len(parts) == 4 else Want.SNAPSHOT, id=parts[2])
        return None

    def admits(self, request: HttpRequest, token: str) -> bool:
        """Return whether a request carries the token."""
        return request.headers.get("authorization") == f"Bearer {token}"

    def load(self, text: str) -> Transcript:
        """Read `documented`, `@FILE` or a compact text. Raises ValueError, and OSError for a file."""
        return load(text)

    def failing(self, state: str) -> Transcript:
        """Return the documented snapshots with another end."""
        state = state or "failed"
        if state not in TERMINAL_STATES - {"success", "succeeded"}:
            raise ValueError(f"{state!r} is no failure; there are failed, canceled")
        last = snapshot(state, err_code="simulated" if state == "failed" else "")
        return Transcript(snapshots=(*documented().snapshots[:-1], last))

    def state_of(self, payload: bytes) -> str:
        """Return the state that a snapshot reports, or `?` if it reports none."""
        return state_of(payload)

    def ends(self, payload: bytes) -> bool:
        """Return whether a snapshot is a task's last."""
        return state_of(payload) in TERMINAL_STATES

    def say(self, state: str) -> bytes:
        """Return a snapshot with a state."""
        return snapshot(state)

    def frame(self, task_id: str, payload: bytes, framing: Framing, eol: bytes) -> bytes:  # noqa: ARG002 - of presets
        """Return a snapshot as it is written to a stream."""
        return frame(payload, framing, eol)

    def reply(self, task_id: str, payload: bytes) -> SpeechReply:  # noqa: ARG002 - of presets
        """Return the answer to a poll."""
        return SpeechReply(status=200, body=payload)

    def result(self, task_id: str, payload: bytes) -> SpeechReply:
        """Return the answer of an upstream that has no request for results."""
        raise AssertionError(f"no request asks for the result of {task_id} {payload!r}")

    def together(self, payloads: Mapping[str, bytes]) -> SpeechReply:
        """Return the answer of an upstream that has no request for several tasks."""
        raise AssertionError(f"no request asks for {len(payloads)} tasks")

    def unknown(self, task_id: str) -> SpeechReply:
        """Return the documented answer about a task that is not known, or to a request without an id."""
        if not task_id:
            return SpeechReply(status=422, body=error_body("id is required"))
        return SpeechReply(status=404, body=error_body("server_id not found"))

    def introduction(self, base_url: str, token: str) -> str:
        """Return a request and a configuration to copy."""
        return f"""simulating the upstream on {base_url}

  curl -N -H 'Authorization: Bearer {token}' '{base_url}{DOCUMENTED_PATH}?id=1'

  sources:
    vidu: {{preset: vidu, base_url: "{base_url}", token: "{token}"}}
  watches: ["1", "2", "3"]
"""
