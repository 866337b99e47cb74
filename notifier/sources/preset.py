"""The description of a provider as data: how to ask for a task, and how to read what comes back.

Built-in descriptions are the YAML files in `presets/`; any field may be overridden in a source's configuration.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import jmespath
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from notifier.core.model import Phase

BEARER = {"Authorization": "Bearer {token}"}  # the headers of a preset that names none
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)/([smh])")
_MAX_SECONDS = 3650 * 86400.0
MAX_VARIABLE = 512  # characters of the value of a variable, as of an id
RESERVED = ("base_url", "id", "ids", "token", "uuid", "jwt", "result_id")  # placeholders that are no variables
_SIZES = {"KiB": 1 << 10, "MiB": 1 << 20}
_SIZE = re.compile(r"([0-9]{1,6})(KiB|MiB)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SPECIAL = re.compile(r"""(?<![\w"'`@])@(event|status)\b""")


def compilable(path: str) -> str:
    """Return a path as JMESPath: `@event`, the name of the stream's event, becomes the key of that name.

    So does `@status`, the HTTP status of a poll's reply.
    """
    return _SPECIAL.sub(r'"@\1"', path)


def _jmespath(expression: str) -> str:
    try:
        jmespath.compile(compilable(expression))
    except jmespath.exceptions.JMESPathError as exc:
        raise ValueError(f"not a JMESPath expression: {exc}") from exc
    return expression


def _seconds(value: object) -> float:
    """Return the seconds of a duration as users write it. Zero is no duration."""
    seconds = 0.0
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = float(match[1]) * _UNITS[match[2]]
    if not 0 < seconds <= _MAX_SECONDS:
        raise ValueError("expected a duration above 0 such as 250ms, 90s, 5m, 2h or 5d")
    return seconds


def _size(value: object) -> int:
    """Return the bytes of a size as users write it."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        size = int(match[1]) * _SIZES[match[2]]
        if 1 << 10 <= size <= 64 << 20:
            return size
    raise ValueError("expected a size from 1KiB to 64MiB, such as 512KiB or 4MiB")


def _per_second(value: object) -> float:
    """Return a rate per second as users write it: `10/s`, or the number alone."""
    rate = 0.0
    if isinstance(value, str) and (match := _RATE.fullmatch(value)):
        rate = float(match[1]) / _UNITS[match[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        rate = float(value)
    if not 0 < rate <= 1_000_000:
        raise ValueError("expected a rate such as 10/s, 100/m or 5/h")
    return rate


def variable_fault(value: str) -> str | None:
    """Return why a text cannot be the value of a variable; None if it can. Slashes may divide it."""
    if len(value) > MAX_VARIABLE:
        return f"longer than {MAX_VARIABLE} characters"
    if _CONTROL.search(value):
        return "holds a line break or another control character"
    if not {".", ".."}.isdisjoint(value.split("/")):  # as a segment of the path these name another place
        return "`.` and `..` are no parts of a path here"
    return None


def _variable(value: str) -> str:
    if (fault := variable_fault(value)) is not None:
        raise ValueError(fault)
    return value


def _variable_name(name: str) -> str:
    if not _VARIABLE.fullmatch(name) or name in RESERVED:
        raise ValueError(f"the name of a variable has letters, digits and _ only, and is none of {', '.join(RESERVED)}")
    return name


def _scalar(value: object) -> object:
    """Return a state as text: booleans and whole numbers as JSON writes them."""
    return json.dumps(value) if isinstance(value, bool | int) else value


State = Annotated[
    str,
    BeforeValidator(_scalar),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}]}),
]
VariableName = Annotated[str, AfterValidator(_variable_name)]
Variable = Annotated[str, AfterValidator(_variable)]
Path = Annotated[str, AfterValidator(_jmespath)]
Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$|\$\{",
            "examples": ["250ms", "90s", "5m", "2h"],
        }
    ),
]
Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(KiB|MiB)$|\$\{", "examples": ["512KiB", "4MiB"]}),
]
PerSecond = Annotated[
    float,
    BeforeValidator(_per_second),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?/[smh]$|\$\{", "examples": ["10/s", "100/m"]},
                {"type": "number", "exclusiveMinimum": 0},
            ]
        }
    ),
]


class Paths(BaseModel):
    """JMESPath expressions, applied to each snapshot; `@event` in them is the name of the stream's event."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Path = "state"
    progress: Path | None = None
    eta: Path | None = None
    error_code: Path | None = None
    error_message: Path | None = None
    result: Path | None = None
    result_expires: Path | None = None  # when the URLs of the result cannot be read any more; of a list, the earliest
    task_id: Path | None = None  # a reply about another task is no observation of this one
    question_code: Path | None = None  # of a reply that says nothing of the task
    question_message: Path | None = None


class NotFound(BaseModel):
    """A reply that says that the provider does not know the task, beside the statuses 404 and 410."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: int | None = Field(default=None, ge=100, le=599, description="HTTP status of the reply; null: any")
    path: Path | None = Field(default=None, description="JMESPath of a value that tells")
    values: tuple[State, ...] = Field(default=(), description="the values at `path`; none: any but null and empty ones")
    empty: bool = Field(strict=True, default=False, description="only if the body is empty")


class ResultRequest(BaseModel):
    """The request that fetches the result of a task that has succeeded, where its state does not hold it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="template like that of the preset; also {result_id}")
    result_id: Path | None = Field(default=None, description="JMESPath in the last snapshot; fills {result_id}")
    result: Path = Field(description="JMESPath in the reply: URL, or list of URLs, of the result")
    expires: Path | None = Field(
        default=None,
        description="JMESPath in the reply: when the URLs cannot be read any more; of a list, the earliest",
    )


class Batch(BaseModel):
    """The request that asks for several tasks at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="template like that of the preset, without {id}; {ids}: all ids, divided by commas")
    method: Literal["POST", "GET"] = Field(default="POST", description="POST: the ids are in a JSON body")
    ids: str = Field(default="ids", min_length=1, description="name of the list of ids in the body")
    most: int = Field(default=500, ge=2, le=10_000, description="ids of one request")
    items: Path = Field(
        default="@",
        description="JMESPath of the list of snapshots in the reply, each as a single reply would be, or of a mapping "
        "of ids to them",
    )


class Cursor(BaseModel):
    """Where a stream's place is, and how it is sent back, where that is not the event's id and Last-Event-ID."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(description="JMESPath in an event's data of its place in the stream")
    parameter: str = Field(
        pattern=r"^[A-Za-z0-9_.~-]+$", description="the query parameter that asks the stream to go on behind it"
    )


class NoStreamRule(BaseModel):
    """A refusal that says that the task has no stream, and has to be polled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: int = Field(ge=100, le=599, description="HTTP status of the reply")
    text: str = Field(default="", description="a part of the first 4 KiB of its body")


class Poll(BaseModel):
    """How often a task is asked for; times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    interval: Seconds = Field(default=5.0, description="between two polls of a task, with a jitter of a tenth")
    max_interval: Seconds = Field(default=60.0, description="the longest interval, while nothing changes")
    growth: float = Field(
        strict=True,
        default=1.25,
        ge=1,
        le=100,
        description="factor of the interval after each poll that brings no change",
    )
    rate_limit: PerSecond | None = Field(
        default=None, description="requests per time of the whole source, such as 10/s; null: connect_rate"
    )
    max_in_flight: int = Field(
        strict=True, default=32, ge=1, le=1_000_000, description="requests of the source at a time"
    )
    floor: Seconds | None = Field(default=None, description="a shorter interval is of no use to the provider's clients")
    hint: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9-]+$",
        description="header of a reply that says how long to wait, beside Retry-After: seconds, or milliseconds if its "
        "name ends in -ms",
    )

    def pause(self, unchanged: int) -> float:
        """Return the seconds to the next poll, before jitter, after so many polls in a row without a change."""
        longest = max(self.interval, self.max_interval)
        try:
            return min(longest, self.interval * self.growth**unchanged)
        except OverflowError:
            return longest


class About(BaseModel):
    """What is known of a provider beyond what the program needs; for people."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: str | None = Field(default=None, description="how sure the description is")
    sources: tuple[str, ...] = Field(default=(), description="what the description was checked against")
    rate_limit: str | None = Field(default=None, description="what the provider says about how often it may be asked")
    webhook: str | None = Field(default=None, description="the provider's own webhook")
    no_task_id: str | None = Field(default=None, description="why its replies are not held to the task's id")


class Preset(BaseModel):
    """How one provider reports a task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    transport: Literal["sse", "poll"] = Field(
        default="sse", description="sse: a stream of events for each task; poll: one request after another"
    )
    poll: Poll = Field(default=Poll(), description="how often a task is asked for, if the transport is poll")
    title: str | None = Field(default=None, description="the provider's name, for people")
    about: About = Field(default=About(), description="what is known of the provider; for people")
    experimental: bool = Field(strict=True, default=False, description="the description rests on weak sources")
    variables: dict[VariableName, Variable | None] = Field(
        default={},
        description="what the url names beyond the id, with defaults; null: the source or the watch has to give it",
    )
    method: Literal["GET", "POST"] = Field(default="GET", description="of the request")
    base_url: str | None = Field(default=None, description="the upstream's scheme and host; fills {base_url} in url")
    url: str = Field(description="template of {base_url}, {token}, variables and {id}, or {+id} to keep slashes")
    headers: dict[str, str] = Field(
        default=BEARER, description="templates like url; also {uuid} and {jwt}, made for each request"
    )
    framing: Literal["event", "line"] = Field(
        default="event", description="event: standard SSE events; line: each data: line is one snapshot"
    )
    paths: Paths = Field(default=Paths(), description="JMESPath expressions, applied to each snapshot")
    states: dict[Phase, tuple[State, ...]] = Field(description="the provider's states under ours")
    failure_if_present: tuple[Path, ...] = Field(
        default=(), description="JMESPath expressions; a value at one of them means failure"
    )
    not_found: tuple[NotFound, ...] = Field(
        default=(), description="replies that say that the task is not known, beside the statuses 404 and 410"
    )
    result_request: ResultRequest | None = Field(
        default=None, description="a second request that fetches the result after success"
    )
    result_lifetime: Seconds | None = Field(default=None, description="how long the URLs of a result can be read")
    state_events: tuple[str, ...] | None = Field(
        default=None, description="names of the events that carry a state; null: all events do"
    )
    end_event: str | None = Field(
        default=None, description="name of the event that ends the stream; it may be listed in `states`"
    )
    cursor: Cursor | None = Field(
        default=None, description="the place of an event in its stream; null: its id, sent back as Last-Event-ID"
    )
    resume_window: Seconds | None = Field(
        default=None, description="how long after the start of a watch its stream can be resumed; null: always"
    )
    poll_twin: str | None = Field(
        default=None, description="name of the preset that is polled where a task has no stream"
    )
    no_stream: tuple[NoStreamRule, ...] = Field(
        default=(),
        description="refusals that say so, beside 204, 501 and those of the credentials, the request or the task",
    )
    deadline: Seconds | None = Field(
        default=None, description="longest duration of a watch; null: the source's default"
    )
    stall_after: Seconds | None = Field(
        default=None, description="watch.stalled after so long without a change; null: the source's default"
    )
    idle_timeout: Seconds | None = Field(
        default=None, description="a stream that is silent for longer is opened again; null: the source's default"
    )
    max_event: Size | None = Field(default=None, description="longest snapshot; null: the source's default")
    batch: Batch | None = Field(default=None, description="for polls: the request that asks for several tasks at once")

    @property
    def required(self) -> frozenset[str]:
        """Return the variables without a value: each watch has to give them."""
        return frozenset(name for name, value in self.variables.items() if value is None)

    @property
    def own(self) -> frozenset[str]:
        """Return the variables that a watch may give: those that do not name the host, which gets the credentials."""
        beginning, slashes, rest = self.url.partition("://")
        authority = rest.partition("/")[0] if slashes else beginning.partition("/")[0]
        return frozenset(name for name in self.variables if f"{{{name}}}" not in authority)


def names() -> tuple[str, ...]:
    """List the built-in presets."""
    entries = files("notifier.sources").joinpath("presets").iterdir()
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml")))


@cache
def raw(name: str) -> dict[str, object]:
    """Return a built-in preset's fields as written. Raises KeyError for an unknown name."""
    fields: dict[str, object] = yaml.safe_load(written(name))
    return fields


def written(name: str) -> str:
    """Return the text of a built-in preset. Raises KeyError for an unknown name."""
    if name not in names():
        raise KeyError(name)
    return files("notifier.sources").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")


def load(name: str) -> Preset:
    """Return a built-in preset. Raises KeyError for an unknown name."""
    return Preset.model_validate(raw(name))
