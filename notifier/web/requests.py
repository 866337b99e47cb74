"""Requests as types: the models that parse them are also the models that the OpenAPI document describes.

A refusal names the parameter or key, the fault, and the values that are accepted. `config.problems` words pydantic's
own errors, for the configuration and for requests alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Self, TypeVar

from multidict import MultiMapping
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from notifier.config import Problem, Text, explain, key_path
from notifier.core.model import Json, Micros
from notifier.store import DeliveryFilter, EventFilter, EventTypeName, WatchFilter
from notifier.web.refusals import BadRequest
from notifier.web.values import (
    MAX_WAIT,
    Cursor,
    DeliveryId,
    Duration,
    Instant,
    Label,
    Page,
    PageLimit,
    PhaseFilter,
    Position,
    SearchText,
    Seconds,
    StatusFilter,
    Truth,
    WatchName,
)

_Model = TypeVar("_Model", bound=BaseModel)
_Item = TypeVar("_Item")


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

    limit: PageLimit = Field(default=100, description="items of a page")


class ListQuery(Limited):
    """Which part of a list."""

    cursor: Cursor | None = Field(default=None, description="`next` of the page before")


class ShortListQuery(Parameters):
    """Which part of a list that is in memory; all of it, unless a limit is given."""

    limit: PageLimit | None = Field(default=None, description="items of a page; all, if not given")
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
    label: list[Label] | None = Field(
        default=None,
        description="KEY:VALUE, with a label that is written so: its key, too, may hold colons; if repeated, with all",
    )
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
        """Return the cursors before and after which the page lies; newest first unless `after` is there."""
        if self.cursor is None:
            return None, self.after
        if self.cursor.forward or self.after is not None:
            return None, self.cursor.position
        return self.cursor.position, None


class WaitQuery(WatchPath):
    """How long to wait for one watch."""

    timeout: Seconds = Field(default=60, ge=0, le=MAX_WAIT, description="seconds until the answer comes in any case")


class StreamQuery(Parameters):
    """Which events, as they are committed."""

    in_header: ClassVar[Collection[str]] = ("Last-Event-ID",)

    watch: WatchName | None = Field(default=None, description="SOURCE/ID: of this watch only")
    source: SearchText | None = Field(default=None, description="of this source")
    type: EventTypeName | None = Field(default=None, description="of this type")
    after: Position | None = Field(
        default=None, description="an event's cursor, for clients that send no Last-Event-ID"
    )
    last_event_id: Position | None = Field(default=None, alias="Last-Event-ID")

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


class MuteRequest(RequestBody):
    """Which endpoints to silence, and until when."""

    endpoint: SearchText | None = Field(default=None, description="null: every endpoint that people read")
    labels: dict[Text, Text] = Field(default={}, description="of the watch, all of them; none: every event")
    until: Instant | None = Field(default=None, description="its end; or give `for`")
    lasting: Duration | None = Field(default=None, alias="for", description="how long it lasts, such as 2h")
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
