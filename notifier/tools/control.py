"""The simulator's remote control, `/_control/`: JSON in, JSON out, for programs that run it as another process.

`GET stats`, `GET task?id=ID`, `POST fault {"id": GLOB, "fault": TEXT}`, `POST clear {}`,
`POST cut {"id": GLOB, "how": "drop"|"reset"|"truncate"|"stall"}`, `POST push {"id": ID, "snapshot": ..., "last": ...}`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from notifier.core.model import Json
from notifier.tools.faults import How

if TYPE_CHECKING:
    from notifier.tools.simulator import Simulator
    from notifier.tools.wire import Request


def encode(value: Json) -> bytes:
    """Return a value as compact JSON; bytes stay as they are."""
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def respond(simulator: Simulator, request: Request) -> tuple[int, bytes]:
    """Do what a control request asks; return status and reply."""
    name = request.path.removeprefix("/_control/")
    try:
        match request.method, name:
            case "GET", "stats":
                reply: Json = asdict(simulator.summary())
            case "GET", "task":
                reply = _task(simulator, request.query.get("id", ""))
            case "POST", "fault" | "clear" | "cut" | "push":
                reply = _change(simulator, name, _fields(request.body))
            case _:
                return 404, encode({"error": {"message": f"no control {request.method} {name}"}})
    except ValueError as exc:
        return 422, encode({"error": {"message": str(exc)}})
    return 200, encode(reply)


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


def _task(simulator: Simulator, id_: str) -> Json:
    task = simulator.tasks.get(id_)
    return {
        "id": id_,
        "connections": task.connections if task else 0,
        "open_streams": len(task.streams) if task else 0,
        "moves": [asdict(move) for move in simulator.written(id_)],
    }


def _change(simulator: Simulator, name: str, fields: dict[str, Any]) -> Json:
    if name == "fault":
        simulator.fault(_text(fields, "id", "*"), _text(fields, "fault"))
    elif name == "clear":
        simulator.clear_faults()
    elif name == "cut":
        return {"cut": simulator.cut(_text(fields, "id", "*"), How(_text(fields, "how", "reset")))}
    else:
        last = fields.get("last")
        if "snapshot" not in fields or not isinstance(last, bool | None):
            raise ValueError("'snapshot' is missing, or 'last' is neither true nor false")
        simulator.push(_text(fields, "id"), fields["snapshot"], last=last)
    return {"ok": True}
