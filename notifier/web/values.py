"""The values of requests as types: numbers, times, names and cursors, and the words that refuse a wrong one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, TypeAdapter, WithJsonSchema

from notifier.config import invalid, read_duration
from notifier.core.model import Micros
from notifier.store import DeliveryStatus, PhaseName, Timestamp

MAX_TEXT = 5000  # characters; every stored name, id and label is shorter
MAX_ID = 2**63 - 1
MAX_LIMIT = 1000  # items of a page
MAX_WAIT = 600  # seconds of one long poll
FORWARD = "a"  # the first character of a cursor that leads to newer events
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = (edge.replace(tzinfo=UTC) for edge in (datetime.min, datetime.max))  # that can be written


def _searchable(value: object) -> str:
    """Return a text that a database can look for."""
    if not isinstance(value, str):
        raise invalid("expected text")
    if len(value) > MAX_TEXT:
        raise invalid(f"longer than {MAX_TEXT} characters")
    try:
        value.encode()
    except UnicodeEncodeError as exc:  # bytes that are not UTF-8 arrive as surrogates
        raise invalid("not UTF-8") from exc
    if "\0" in value:  # PostgreSQL refuses it, and no stored text holds one
        raise invalid("a NUL is no text")
    return value


def _whole(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        text = str(value)
        if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
            raise invalid(f"expected a whole number from {least} to {most}")
        return int(text)

    return read


_position = _whole(0, MAX_ID)


def _event_position(value: object) -> int:
    """Read an event's cursor, or the cursor of a page that continues after an event."""
    return _position(str(value).removeprefix(FORWARD))


def _seconds(value: object) -> float:
    text = str(value)
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text, re.ASCII) or float(text) > MAX_WAIT:
        raise invalid(f"expected a number of seconds from 0 to {MAX_WAIT}")
    return float(text)


def _duration(value: object) -> float:
    try:
        return read_duration(value)
    except ValueError as exc:
        raise invalid(str(exc)) from exc


def _truth(value: object) -> bool:
    if value not in ("true", "false"):
        raise invalid("expected one of true, false")
    return value == "true"


def _label(value: object) -> str:
    text = _searchable(value)
    if ":" not in text:
        raise invalid("expected KEY:VALUE")
    return text


def _watch_name(value: object) -> tuple[str, str]:
    source, slash, task_id = _searchable(value).partition("/")
    if not (source and slash and task_id):
        raise invalid("expected SOURCE/ID")
    return source, task_id


def _instant(value: object) -> Micros:
    if not isinstance(value, str):
        raise invalid("expected text")
    try:
        at = datetime.fromisoformat(value)
    except ValueError as exc:
        raise invalid("expected a time such as 2026-11-22T06:00:00Z") from exc
    if at.tzinfo is None:
        raise invalid("say the time zone too, such as 2026-11-22T06:00:00Z")
    # A time zone may put it before the first or after the last moment of UTC.
    return (min(max(at, _FIRST), _LAST) - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCursor:
    """The place where a page of events begins."""

    position: int
    forward: bool  # to newer events

    @classmethod
    def read(cls, value: object) -> EventCursor:
        """Read a cursor, which begins with `a` where it leads to newer events."""
        return cls(position=_event_position(value), forward=str(value).startswith(FORWARD))

    def __str__(self) -> str:
        return f"{FORWARD}{self.position}" if self.forward else str(self.position)


_TEXT: Mapping[str, Any] = {"type": "string"}


def _matching(pattern: str) -> WithJsonSchema:
    """Describe a text for those who make requests of the document."""
    return WithJsonSchema({**_TEXT, "pattern": pattern})


SearchText = Annotated[str, BeforeValidator(_searchable)]
Cursor = Annotated[int, BeforeValidator(_position), _matching("^[0-9]{1,18}$")]
Position = Annotated[int, BeforeValidator(_event_position), _matching("^a?[0-9]{1,18}$")]
Page = Annotated[EventCursor, BeforeValidator(EventCursor.read), _matching("^a?[0-9]{1,18}$")]
Truth = Annotated[bool, BeforeValidator(_truth)]
PageLimit = Annotated[
    int,
    BeforeValidator(_whole(1, MAX_LIMIT)),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}),
]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Duration = Annotated[float, BeforeValidator(_duration), WithJsonSchema({**_TEXT})]
Label = Annotated[str, BeforeValidator(_label), _matching("^[^:]*:")]
Instant = Annotated[Micros, BeforeValidator(_instant), WithJsonSchema(TypeAdapter(Timestamp).json_schema())]
WatchName = Annotated[tuple[str, str], BeforeValidator(_watch_name), _matching("^[^/]+/.")]
DeliveryId = Annotated[
    int, BeforeValidator(_position), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MAX_ID})
]
PhaseFilter = Literal[PhaseName, "new", "lost"]
StatusFilter = Literal["pending", DeliveryStatus]
