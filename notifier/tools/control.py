"""The simulator's remote control, `/_control/`: JSON in, JSON out, for programs that run it as another process.

`GET stats`, `GET task?id=ID`, `POST fault {"id": GLOB, "fault": TEXT}`, `POST clear {}`,
`POST cut {"id": GLOB, "how": "drop"|"reset"|"truncate"|"stall"}`, `POST push {"id": ID, "snapshot": ..., "last": ...}`.
This module reads the requests; the simulator carries them out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from notifier.core.model import Json
from notifier.tools.faults import Fault, How, parse_fault
from notifier.tools.wire import HttpRequest

PREFIX = "/_control/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowStats:
    """Return the simulator's counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowTask:
    """Return a task's connections and moves."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddFault:
    """Let something go wrong on connections still to come."""

    ids: str  # a glob
    fault: Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearFaults:
    """Let nothing more go wrong on connections still to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutStreams:
    """Cut open streams short."""

    ids: str  # a glob
    how: How


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSnapshot:
    """Make this a task's current snapshot."""

    id: str
    snapshot: Json
    last: bool | None  # None: a terminal state is


Command = ShowStats | ShowTask | AddFault | ClearFaults | CutStreams | PushSnapshot


def encode(value: Json) -> bytes:
    """Return a value as compact JSON; bytes stay as they are."""
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def read_command(request: HttpRequest) -> Command | None:
    """Return the command of a request; None if there is no such control. Raises ValueError."""
    match request.method, request.path.removeprefix(PREFIX):
        case "GET", "stats":
            return ShowStats()
        case "GET", "task":
            return ShowTask(id=request.query.get("id", ""))
        case "POST", "fault" | "clear" | "cut" | "push" as name:
            return _change(name, _fields(request.body))
        case _:
            return None


def _change(name: str, fields: dict[str, Any]) -> Command:
    match name:
        case "fault":
            return AddFault(ids=_text(fields, "id", "*"), fault=parse_fault(_text(fields, "fault")))
        case "clear":
            return ClearFaults()
        case "cut":
            return CutStreams(ids=_text(fields, "id", "*"), how=How(_text(fields, "how", "reset")))
        case _:
            last = fields.get("last")
            if "snapshot" not in fields or not isinstance(last, bool | None):
                raise ValueError("'snapshot' is missing, or 'last' is neither true nor false")
            return PushSnapshot(id=_text(fields, "id"), snapshot=fields["snapshot"], last=last)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body or b"{}")
    except ValueError as exc:
        raise ValueError(f"the body is no JSON: {exc}") from exc
    if not isinstance(fields, dict):
        raise ValueError("the body is no JSON object")
    return fields


def _text(fields: dict[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is missing or no text")
    return value
