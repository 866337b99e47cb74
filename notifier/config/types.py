"""The kinds of value that keys take: text, names, numbers, durations, rates, JSON. Each message names what is expected.

Every kind reads plain JSON values and those of a YAML document (Interpolated, Unclear). None of them guesses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from notifier.config.problems import detail, got, invalid, refusal
from notifier.config.scalars import Number, Unclear, settle

MAX_ID = 512  # characters; both databases index it
MAX_NAME = 64  # of a source or endpoint; it becomes a metric's label and a part of URLs
MAX_SECONDS = 3650 * 86400.0  # longer than any use, short enough for clocks and timers
MAX_JSON_DEPTH = 64

VARIABLE = {"type": "string", "pattern": r"\$\{"}  # JSON Schema for a value that comes from a variable

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(KiB|MiB)", re.ASCII)
_SIZE_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20}
MIN_EVENT_SIZE = 1 << 10
MAX_EVENT_SIZE = 64 << 20
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)/([smh])")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
# RFC 9110, section 7.6.1, and RFC 2616, section 13.5.1
_HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "trailers", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_SIGNATURES = frozenset({"x-hub-signature-256", "stripe-signature"})  # `webhook-signature` is covered by its prefix
_FRAMING = frozenset({"content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"})
_OURS = frozenset({"host", "content-length", "content-type", "content-encoding", "expect"})


def text(value: object) -> str:
    """Return text exactly as written: quoted, or unquoted where it cannot mean anything else."""
    match value:
        case str():
            if _SURROGATE.search(value):
                raise invalid("half of a surrogate pair is no text")
            return str(value)
        case bool() | None:
            raise invalid(f"expected text, got {got(value)}; put it in quotes if it is meant as text")
        case int() if value >= 0:
            return str(value)
        case int() | float() | Unclear():
            raise invalid(f"expected text, got {got(value)}, which can be read in several ways; put it in quotes")
        case _:
            raise invalid(f"expected text, got {got(value)}")


def task_id(value: object) -> str:
    """Return the id of a task: text of 1 to MAX_ID characters without control characters."""
    task = text(value)
    if not 1 <= len(task) <= MAX_ID:
        raise invalid(f"expected an id of 1 to {MAX_ID} characters, got {len(task)}")
    if _CONTROL.search(task):
        raise invalid("an id holds no line breaks or other control characters")
    if task in (".", ".."):  # percent-encoded, too (RFC 3986 section 6.2.2)
        raise invalid(f"in a URL, {got(task)} names another place, not a task")
    return task


def printable(value: object) -> str:
    """Return text that is not empty and holds no control characters."""
    line = text(value)
    if not line:
        raise invalid("must not be empty")
    if _CONTROL.search(line):
        raise invalid("holds a line break or another control character")
    return line


def seen(content: str) -> str:
    """Return text that is sent as it is, if people see all of it; what others refuse for the rest would look right."""
    if hidden := next((character for character in content if not character.isprintable()), None):
        raise invalid(f"holds a character that cannot be seen, U+{ord(hidden):04X}; remove it")
    if content != content.strip():
        raise invalid("begins or ends with a blank; remove it")
    return content


def name(value: object) -> str:
    """Return the name of a source or endpoint, which becomes part of a URL's path and a metric's label."""
    label = printable(value)
    if len(label) > MAX_NAME or re.search(r"[\s/]", label) or label in (".", ".."):
        raise invalid(f"a name has 1 to {MAX_NAME} characters, none of them a blank or a slash")
    return label


def _boolean(value: object) -> bool:
    match settle(value):
        case bool(plain) | Unclear(boolean=bool(plain)):
            return plain
        case _:
            raise invalid(f"expected true or false, got {got(value)}")


def _whole(value: object) -> int:
    match settle(value):
        case int(plain) if not isinstance(plain, bool):
            if 1 <= plain <= 1_000_000_000:
                return plain
            raise invalid("expected a whole number from 1 to 1000000000")
        case _:
            raise invalid(f"expected a whole number such as 100, without quotes, got {got(value)}")


def _positive(value: object) -> float:
    match settle(value):
        case int() | float() as plain if not isinstance(plain, bool):
            if 0 < plain <= 1_000_000_000:
                return float(plain)
            raise invalid("expected a number above 0, at most 1000000000")
        case _:
            raise invalid(f"expected a number such as 200 or 0.5, without quotes, got {got(value)}")


def _duration(value: object) -> float:
    wanted = "expected a duration such as 250ms, 90s, 5m, 2h or 5d"
    plain = settle(value)
    if isinstance(plain, str) and (match := _DURATION.fullmatch(plain)):
        seconds = float(match[1]) * _UNITS[match[2]]
        if seconds > MAX_SECONDS:
            raise invalid("longer than 3650d")
        return seconds
    if isinstance(plain, int | float) and not isinstance(plain, bool):
        if plain == 0:
            return 0.0
        advice = f"add a unit, as in {plain:g}s" if 0 < plain < MAX_SECONDS and plain is value else "add a unit"
        raise invalid(f"{wanted}, got {got(value)}; {advice}")
    raise invalid(f"{wanted}, got {got(value)}")


def _event_size(value: object) -> int:
    wanted = "expected a size from 1KiB to 64MiB, such as 512KiB or 4MiB"
    plain = settle(value)
    if isinstance(plain, str) and (match := _SIZE.fullmatch(plain)):
        size = int(float(match[1]) * _SIZE_UNITS[match[2]])
        if MIN_EVENT_SIZE <= size <= MAX_EVENT_SIZE:
            return size
    raise invalid(f"{wanted}, got {got(value)}")


def read_duration(value: object) -> float:
    """Return the seconds of a duration as users write it. Raises ValueError, for a wrong type too."""
    try:
        return _duration(value)
    except PydanticCustomError as exc:
        raise ValueError(str(exc)) from exc


def write_duration(seconds: float) -> str:
    """Write seconds as the configuration does, in the largest unit that is exact."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s" if seconds >= 1 or not seconds else f"{seconds * 1000:g}ms"


def write_size(count: int) -> str:
    """Write a number of bytes in the largest unit that is exact."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count and count % size == 0:
            return f"{count // size}{unit}"
    return f"{count:,} bytes"


def _positive_duration(value: object) -> float:
    seconds = _duration(value)
    if seconds == 0:
        raise invalid("must be longer than 0")
    return seconds


def _rate(value: object) -> float:
    if isinstance(value, str) and (match := _RATE.fullmatch(value)):
        rate = float(match[1]) / _UNITS[match[2]]
        if 0 < rate <= 1_000_000:
            return rate
        raise invalid("expected a rate above 0, at most 1000000/s")
    raise invalid(f"expected a rate such as 10/s, 100/m or 5/h, got {got(value)}")


def header_name(name: str) -> str:
    """Refuse a text that is not the name of a header field."""
    if not _TOKEN.fullmatch(name):
        raise invalid("not the name of a header: letters, digits and - only")
    return name


def source_header(name: str) -> str:
    """Refuse a header by which a server would wait for more than the request that is sent, or answer otherwise."""
    if header_name(name).lower() in _FRAMING:
        raise invalid("this header is about how a request is sent, not what it asks; remove it")
    return name


def delivery_header(name: str) -> str:
    """Refuse a header that notifier sets itself, or that concerns only the connection."""
    lowered = header_name(name).lower()
    if lowered.startswith("webhook-") or lowered in _OURS or lowered in _SIGNATURES:
        raise invalid("this header is set by notifier itself; remove it")
    if lowered in _HOP_BY_HOP:
        raise invalid("this header is about the connection, not the message; remove it")
    return name


def is_text(value: object) -> bool:
    """Return whether a value is plain text, which `text` returns unchanged."""
    return type(value) is str and (value.isascii() or not _SURROGATE.search(value))


def is_json(value: object, depth: int = 0) -> bool:
    """Return whether a value is plain JSON, which a metadata key returns unchanged."""
    kind = type(value)
    if value is None or kind is int or kind is bool or is_text(value):
        return True
    if kind is float or kind is Number:
        return math.isfinite(value)  # type: ignore[arg-type]  # a float: `kind` says so
    if kind is dict and depth < MAX_JSON_DEPTH:
        mapping: dict[object, object] = value  # type: ignore[assignment]  # a dict, of the same kind
        return all(map(is_text, mapping)) and all(is_json(item, depth + 1) for item in mapping.values())
    if kind is not list or depth >= MAX_JSON_DEPTH:
        return False
    items: list[object] = value  # type: ignore[assignment]  # a list, likewise
    return all(is_json(item, depth + 1) for item in items)


def _json(value: object, location: tuple[int | str, ...] = ()) -> Any:
    """Return the value as json.loads would; refuse a value that JSON does not have."""
    match value:
        case None | bool() | int():
            return value
        case str() if not _SURROGATE.search(value):
            return str(value)
        case float() if math.isfinite(value):
            return value
        case list() if len(location) < MAX_JSON_DEPTH:
            return [_json(item, (*location, index)) for index, item in enumerate(value)]
        case Mapping() if len(location) < MAX_JSON_DEPTH:
            return {_json_key(key, location): _json(item, (*location, key)) for key, item in value.items()}
        case list() | Mapping():
            fault = invalid(f"nested more than {MAX_JSON_DEPTH} levels deep")
        case Unclear():
            fault = invalid(
                f"{got(value)} unquoted can be read in several ways; put it in quotes, or write it as in JSON"
            )
        case str():
            fault = invalid("half of a surrogate pair is no text")
        case _:
            fault = invalid(f"expected a JSON value, got {got(value)}")
    raise refusal([detail(location, fault)])


def _json_key(key: object, location: tuple[int | str, ...]) -> str:
    if not isinstance(key, str):
        raise refusal([detail(location, invalid(f"a key must be text, got {got(key)}"))])
    if _SURROGATE.search(key):
        raise refusal([detail(location, invalid("half of a surrogate pair is no text"))])
    return key


def _json_value(value: object) -> Any:
    return _json(value)


def _kind(read: Callable[[Any], Any], *schemas: dict[str, Any]) -> tuple[BeforeValidator, WithJsonSchema]:
    return BeforeValidator(read), WithJsonSchema(schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)})


def _duration_schema(pattern: str) -> dict[str, Any]:
    return {
        "type": "string",
        "pattern": rf"^({pattern})(ms|s|m|h|d)$|\$\{{",
        "examples": ["250ms", "90s", "5m", "2h"],
    }


_STRING: dict[str, Any] = {"type": "string"}
_DIGITS: dict[str, Any] = {"type": "integer", "minimum": 0}
_ZERO: dict[str, Any] = {"const": 0}
_NONZERO = r"0*[1-9][0-9]*(\.[0-9]+)?|0+\.0*[1-9][0-9]*"

Text = Annotated[str, *_kind(text, _STRING, _DIGITS)]
TaskId = Annotated[str, *_kind(task_id, _STRING | {"minLength": 1, "maxLength": MAX_ID}, _DIGITS)]
Printable = Annotated[str, *_kind(printable, _STRING | {"minLength": 1}, _DIGITS)]
Name = Annotated[str, *_kind(name, _STRING | {"minLength": 1, "maxLength": MAX_NAME, "pattern": r"^[^\s/]+$"}, _DIGITS)]
Boolean = Annotated[bool, *_kind(_boolean, {"type": "boolean"}, VARIABLE)]
Whole = Annotated[int, *_kind(_whole, {"type": "integer", "minimum": 1}, VARIABLE)]
Positive = Annotated[float, *_kind(_positive, {"type": "number", "exclusiveMinimum": 0}, VARIABLE)]
Duration = Annotated[float, *_kind(_duration, _duration_schema(r"[0-9]+(\.[0-9]+)?"), _ZERO)]
PositiveDuration = Annotated[float, *_kind(_positive_duration, _duration_schema(_NONZERO))]
EventSize = Annotated[
    int,
    *_kind(_event_size, _STRING | {"pattern": r"^[0-9]+(\.[0-9]+)?(KiB|MiB)$|\$\{", "examples": ["512KiB", "4MiB"]}),
]
Rate = Annotated[
    float, *_kind(_rate, _STRING | {"pattern": r"^[0-9]+(\.[0-9]+)?/[smh]$|\$\{", "examples": ["10/s", "100/m", "5/h"]})
]
JsonValue = Annotated[Any, *_kind(_json_value, {})]
