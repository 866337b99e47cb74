"""Requests as types: the models that parse them are also the models that the OpenAPI document describes.

A refusal names the parameter or key, the fault, and the values that are accepted. `config.problems` words pydantic's
own errors, for the configuration and for requests alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from multidict import MultiMapping
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails

from notifier.config import Problem, explain, invalid, key_path, read_duration
from notifier.core.model import Json, Micros
from notifier.store import DeliveryFilter, DeliveryStatus, EventFilter, EventTypeName, PhaseName, Timestamp, WatchFilter
from notifier.web.refusals import BadRequest

MAX_LIMIT = 1000  # items of a page
MAX_TEXT = 5000  # characters; every stored name, id and label is shorter
MAX_ID = 2**63 - 1
MAX_WAIT = 600  # seconds of one long poll
FORWARD = "a"  # the first character of a cursor that leads to newer events
_Model = TypeVar("_Model", bound=BaseModel)
_Item = TypeVar("_Item")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# -- values


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


def _truth(value: object) -> bool:
    if value not in ("true", "false"):
        raise invalid("expected one of true, false")
    return value == "true"


def _label(value: object) -> tuple[str, str]:
    key, colon, content = _searchable(value).partition(":")
    if not colon:
        raise invalid("expected KEY:VALUE")
    return key, content


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
    return (at - _EPOCH) // timedelta(microseconds=1)


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
SearchText = Annotated[str, BeforeValidator(_searchable)]
Cursor = Annotated[int, BeforeValidator(_position), WithJsonSchema({**_TEXT})]
Position = Annotated[int, BeforeValidator(_event_position), WithJsonSchema({**_TEXT})]
Page = Annotated[EventCursor, BeforeValidator(EventCursor.read), WithJsonSchema({**_TEXT})]
Truth = Annotated[bool, BeforeValidator(_truth)]
Label = Annotated[tuple[str, str], BeforeValidator(_label), WithJsonSchema({**_TEXT})]
Instant = Annotated[Micros, BeforeValidator(_instant), WithJsonSchema(TypeAdapter(Timestamp).json_schema())]
WatchName = Annotated[tuple[str, str], BeforeValidator(_watch_name), WithJsonSchema({**_TEXT})]
DeliveryId = Annotated[
    int, BeforeValidator(_position), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MAX_ID})
]
PhaseFilter = Literal[PhaseName, "new", "lost"]
StatusFilter = Literal["pending", DeliveryStatus]


# -- parameters


class Parameters(BaseModel):
    """No parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
    repeatable: ClassVar[Collection[str]] = ()  # names that a query may hold several times
    in_header: ClassVar[Collection[str]] = ()  # names of headers

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names as clients send them, in the path, the query, or a header."""
        return _names(cls)

    @classmethod
    def read(cls, *, path: Mapping[str, str], query: MultiMapping[str], headers: Mapping[str, str]) -> Self:
        """Parse the parameters of a request. Raises BadRequest."""
        known = [name for name in cls.names() if name not in path and name not in cls.in_header]
        values: dict[str, object] = dict(path)
        for name in dict.fromkeys(query):
            if name not in known:
                options = f"there are {', '.join(known)}" if known else "there are none here"
                raise BadRequest(f"{name[:50]!a}: no such parameter; {options}")
            texts = query.getall(name)
            if name not in cls.repeatable and len(texts) > 1:
                raise BadRequest(f"{name}: given twice")
            values[name] = texts if name in cls.repeatable else texts[0]
        values |= {name: headers[name] for name in cls.in_header if headers.get(name)}
        return _validated(cls, values)


class WatchPath(Parameters):
    """One watch."""

    source: SearchText = Field(description="name of the source", json_schema_extra={"minLength": 1})
    id: SearchText = Field(description="id of the task", json_schema_extra={"minLength": 1, "maxLength": 512})


class DeliveryPath(Parameters):
    """One delivery."""

    id: DeliveryId = Field(description="id of the delivery")


class EndpointPath(Parameters):
    """One endpoint."""

    name: str = Field(description="name of the endpoint", json_schema_extra={"minLength": 1})


class MutePath(Parameters):
    """One mute."""

    id: SearchText = Field(description="id of the mute", json_schema_extra={"minLength": 1})


class Limited(Parameters):
    """How much of a list."""

    limit: Annotated[int, BeforeValidator(_whole(1, MAX_LIMIT))] = Field(
        default=100, ge=1, le=MAX_LIMIT, description="items of a page"
    )


class ListQuery(Limited):
    """Which part of a list."""

    cursor: Cursor | None = Field(default=None, description="`next` of the page before")


class ShortListQuery(Parameters):
    """Which part of a list that is in memory; all of it, unless a limit is given."""

    limit: Annotated[int, BeforeValidator(_whole(1, MAX_LIMIT))] | None = Field(
        default=None, ge=1, le=MAX_LIMIT, description="items of a page; all, if not given"
    )
    cursor: Cursor | None = Field(default=None, description="`next` of the page before")

    def page(self, items: Sequence[_Item]) -> tuple[list[_Item], str | None]:
        """Return the items of this page, and the cursor of the next: the number of items before it."""
        begin = self.cursor or 0
        end = len(items) if self.limit is None else begin + self.limit
        return list(items[begin:end]), str(end) if end < len(items) else None


class WatchQuery(ListQuery):
    """Which watches."""

    repeatable: ClassVar[Collection[str]] = ("label",)

    source: SearchText | None = Field(default=None, description="of this source")
    phase: PhaseFilter | None = Field(
        default=None,
        description="`new`: nothing was observed yet; `lost`: given up; such a watch is listed in no other phase",
    )
    state: SearchText | None = Field(default=None, description="the provider's own word")
    label: list[Label] | None = Field(default=None, description="KEY:VALUE; if repeated, a watch must have all labels")
    q: SearchText | None = Field(default=None, description="a part of the id, in upper or lower case")
    ended: Truth | None = Field(default=None, description="whether nothing more will happen")

    def filter(self) -> WatchFilter:
        """Return the filter for the store."""
        return WatchFilter(
            source=self.source,
            phase=self.phase,
            state=self.state,
            labels=tuple(self.label or ()),
            text=self.q,
            ended=self.ended,
        )


class EventQuery(Limited):
    """Which events."""

    cursor: Page | None = Field(default=None, description="`next` of the page before")
    source: SearchText | None = Field(default=None, description="of this source")
    id: SearchText | None = Field(default=None, description="of the watches with this id")
    type: EventTypeName | None = Field(default=None, description="of this type")
    after: Position | None = Field(
        default=None, description="an event's cursor: list the events after it, oldest first"
    )

    def filter(self) -> EventFilter:
        """Return the filter for the store."""
        return EventFilter(source=self.source, task=self.id, type=self.type)

    def place(self) -> tuple[int | None, int | None]:
        """Return the events before and after which the page is to be; newest first unless `after` is there."""
        if self.cursor is None:
            return None, self.after
        if self.cursor.forward or self.after is not None:
            return None, self.cursor.position
        return self.cursor.position, None


class WaitQuery(WatchPath):
    """How long to wait for one watch."""

    timeout: Annotated[float, BeforeValidator(_seconds)] = Field(
        default=60, ge=0, le=MAX_WAIT, description="seconds until the answer comes in any case"
    )


class StreamQuery(Parameters):
    """Which events, as they are committed."""

    in_header: ClassVar[Collection[str]] = ("Last-Event-ID",)

    watch: WatchName | None = Field(default=None, description="SOURCE/ID: of this watch only")
    source: SearchText | None = Field(default=None, description="of this source")
    type: EventTypeName | None = Field(default=None, description="of this type")
    after: Position | None = Field(
        default=None, description="an event's cursor, for clients that send no Last-Event-ID"
    )
    last_event_id: Annotated[Position, WithJsonSchema({"type": "string", "pattern": "^a?[0-9]{1,18}$"})] | None = Field(
        default=None, alias="Last-Event-ID"
    )

    def filter(self) -> EventFilter:
        """Return the filter for the store."""
        source, task = self.watch or (self.source, None)
        return EventFilter(source=source, task=task, type=self.type)

    def position(self) -> int | None:
        """Return the event after which the stream begins; None: begin now."""
        return self.after if self.last_event_id is None else self.last_event_id


class DeliveryQuery(ListQuery):
    """Which deliveries."""

    endpoint: SearchText | None = Field(default=None, description="to this endpoint")
    watch: WatchName | None = Field(default=None, description="SOURCE/ID: of the events of this watch")
    task: SearchText | None = Field(default=None, description="of the events of the watches with this id")
    status: StatusFilter | None = Field(default=None, description="`pending`: ready or waiting")
    since: Instant | None = Field(default=None, description="created at or after this time")
    until: Instant | None = Field(default=None, description="created before this time")

    def filter(self) -> DeliveryFilter:
        """Return the filter for the store."""
        return DeliveryFilter(
            endpoint=self.endpoint,
            watch=self.watch,
            task=self.task,
            status=self.status,
            since=self.since,
            until=self.until,
        )


# -- bodies


class RequestBody(BaseModel):
    """A body that is a JSON object."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def read(cls, body: Json) -> Self:
        """Parse a request's body. Raises BadRequest."""
        if not isinstance(body, dict):
            raise BadRequest("the body has to be a JSON object")
        keys = _names(cls)
        for name in body:
            if name not in keys:
                raise BadRequest(f"{name[:50]!a}: unknown key; there are {', '.join(keys)}")
        return _validated(cls, body)


class RetryRequest(RequestBody):
    """Which dead deliveries to send again; a key that is left out excludes none."""

    endpoint: SearchText | None = None
    since: Instant | None = None
    until: Instant | None = None

    def filter(self) -> DeliveryFilter:
        """Return the filter for the store."""
        return DeliveryFilter(endpoint=self.endpoint, since=self.since, until=self.until)


def _duration(value: object) -> float:
    try:
        return read_duration(value) if isinstance(value, str) else 0.0
    except ValueError as exc:
        raise invalid(str(exc)) from exc


class MuteRequest(RequestBody):
    """Which endpoints to silence, and until when."""

    endpoint: SearchText | None = Field(default=None, description="null: every endpoint that people read")
    labels: dict[SearchText, SearchText] = Field(default={}, description="of the watch, all of them; none: every event")
    until: Instant | None = Field(default=None, description="its end; or give `for`")
    lasting: Annotated[float, BeforeValidator(_duration), WithJsonSchema({**_TEXT})] | None = Field(
        default=None, alias="for", description="how long it lasts, such as 2h"
    )
    comment: SearchText | None = Field(default=None, description="why, for people")

    @classmethod
    def read(cls, body: Json) -> Self:
        """Parse a request's body. Raises BadRequest."""
        request = super().read(body)
        if (request.until is None) == (request.lasting is None):
            raise BadRequest("say either `until`, such as 2026-11-22T06:00:00Z, or `for`, such as 2h")
        return request

    def end(self, now: Micros) -> Micros:
        """Return when it ends. Raises BadRequest."""
        end = now + round((self.lasting or 0.0) * 1e6) if self.until is None else self.until
        if end <= now:
            raise BadRequest("the mute would be over already")
        return end


def _names(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of a model's fields as clients send them."""
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _validated(model: type[_Model], values: Mapping[str, object]) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        raise BadRequest("; ".join(map(_worded, exc.errors(include_url=False)))) from exc


def _worded(entry: ErrorDetails) -> str:
    message, suggestion = explain(entry)
    name = key_path(entry["loc"][:1])  # not the index of a repeated parameter: its value is in the message
    return str(Problem(file="", line=0, column=0, key=name, message=message, suggestion=suggestion))
