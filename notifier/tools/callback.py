"""A callback that the listener received, and its form for people and programs. No I/O, no clock."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.text import Text

from notifier.core.model import Json

_MAX_SHOWN = 200  # characters of any text that came over the wire, on one line


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedCallback:
    """One POST; a field that the payload lacks is None."""

    number: int  # counted from 1
    at: float  # Unix seconds of its arrival
    path: str
    id: str | None  # `webhook-id`
    sent_at: str | None  # `webhook-timestamp`, as written
    verified: bool | None  # None: not checked, since there is no secret or it is a Slack message
    reason: str = ""  # why it is not verified
    traceparent: str | None = None  # the header
    type: str | None = None
    timestamp: str | None = None  # of the event, as written
    latency: float | None = None  # seconds from the event to its arrival
    source: str | None = None
    watch: str | None = None  # the task's id
    state: str | None = None
    previous_state: str | None = None
    phase: str | None = None
    sequence: int | None = None
    text: str | None = None  # of a Slack message
    attempt: int = 1  # which arrival of this id, at this path
    accepted_before: bool = False  # an earlier arrival was answered 2xx: the receiver must drop this repeat
    out_of_order: bool = False  # its sequence is not above all earlier ones, and it is no repeat
    answer: str = ""  # the answer: a status or `drop`, `reset`, `blackhole`, `drip`
    payload: Json = None  # None if it is no JSON
    body: bytes = b""

    @property
    def duplicate(self) -> bool:
        """Return whether the same id arrived before."""
        return self.attempt > 1


def fields_of(payload: Json, *, at: float) -> dict[str, Json]:
    """Return the fields of a callback that come from its payload, by their names in `ReceivedCallback`."""
    top = _object(payload)
    data = _object(top.get("data"))
    watch = _object(data.get("watch"))
    sequence = data.get("sequence")
    timestamp = _text(top.get("timestamp"))
    return {
        "type": _text(top.get("type")),
        "timestamp": timestamp,
        "latency": _latency(timestamp, at),
        "source": _text(watch.get("source")),
        "watch": _text(watch.get("id")),
        "state": _text(data.get("state")),
        "previous_state": _text(data.get("previous_state")),
        "phase": _text(data.get("phase")),
        "sequence": sequence if isinstance(sequence, int) and not isinstance(sequence, bool) else None,
    }


def format_callback(callback: ReceivedCallback) -> Text:
    """Return one line for people; the console decides about colours."""
    at = datetime.fromtimestamp(callback.at, UTC).astimezone()
    line = Text(at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03d}", style="dim")
    mark, style = {True: ("✓", "bold green"), False: ("✗", "bold red"), None: ("·", "yellow")}[callback.verified]
    line.append(f" {mark} ", style=style)
    if callback.text is not None:
        line.append("slack ", style="bold magenta").append(_shown(callback.text))
    elif callback.watch is not None:
        line.append(f"{_shown(callback.source)}/{_shown(callback.watch)} ", style="bold")
        if callback.previous_state is not None and callback.previous_state != callback.state:
            line.append(f"{_shown(callback.previous_state)} → ")
        line.append(_shown(callback.state), style=_colour(callback.phase))
        line.append(f" #{callback.sequence}", style="cyan")
    else:
        line.append(_shown(callback.path), style="bold")
    if callback.type is not None:
        line.append(f" {_shown(callback.type)}")
    if callback.latency is not None:
        line.append(f" {callback.latency * 1000:.0f} ms", style="dim")
    if callback.duplicate:
        line.append(" duplicate" if callback.accepted_before else f" attempt {callback.attempt}", style="yellow")
    if callback.out_of_order:
        line.append(" out of order", style="bold red")
    if callback.verified is False:
        line.append(f" {_shown(callback.reason)}", style="red")
    if callback.answer != "200":
        line.append(f" ← {callback.answer}", style="yellow")
    return line


def json_line(callback: ReceivedCallback) -> str:
    """Return one line of JSON for programs."""
    names = [name for name in ReceivedCallback.__slots__ if name != "body"]
    fields = {name: getattr(callback, name) for name in names}
    return json.dumps({**fields, "duplicate": callback.duplicate}, separators=(",", ":"))


def _colour(phase: str | None) -> str:
    return {"succeeded": "bold green", "failed": "bold red", "canceled": "bold yellow", "running": "blue"}.get(
        phase or "", "none"
    )


def _shown(text: str | None) -> str:
    """Make text from the wire safe to show: short, and without control characters."""
    short = "-" if text is None else text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in short)


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _latency(timestamp: str | None, at: float) -> float | None:
    if timestamp is None:
        return None
    try:
        event = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return None if event.tzinfo is None else at - event.timestamp()
