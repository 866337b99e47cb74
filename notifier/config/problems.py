"""The problems of a configuration, one line each: the place, the key, the fault, and what to do.

This module alone puts pydantic's errors into these words. No message holds a secret or the value of a variable.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from notifier.config.reading import Reading
from notifier.config.scalars import Interpolated, Number, Unclear
from notifier.core.errors import NotifierError

Location = tuple[int | str, ...]  # keys and list indices, from the document's top
_NAME = r"([\w*/-]+)|(\"(?:[^\"\\]|\\.)*\")"
_FIRST_KEY_PART = re.compile(rf"\[([0-9]+)\]|(?:{_NAME})")
_KEY_PART = re.compile(rf"\[([0-9]+)\]|\.(?:{_NAME})")
UNKNOWN_KEY = "unknown key"
_SHOWN = 40  # characters of a value that a message shows
_PRIVATE = ("whsec_", "whsk_", "Bearer ")  # a text that begins so may be a secret in the wrong place


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault and its place. Line and column count from 1; line 0 means the whole file, or a value from no file."""

    file: str
    line: int
    column: int
    key: str  # path of the value, such as `watches[3].id`; empty for the file as a whole
    message: str
    suggestion: str | None = None
    excerpt: tuple[str, ...] = ()  # the line, without what may be secret, and a mark below the place

    @classmethod
    def at_large(cls, message: str, *, file: str = "") -> Self:
        """Create a problem without a place, of a file or of none."""
        return cls(file=file, line=0, column=0, key="", message=message)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        key = f"{self.key}: " if self.key else ""
        hint = f'; did you mean "{self.suggestion}"?' if self.suggestion else ""
        return one_line(f"{place}{key}{self.message}{hint}")

    def in_full(self) -> str:
        """Return the problem for people: one line, and the excerpt below it."""
        return "\n".join((str(self), *(f"    {line}" for line in self.excerpt)))


@dataclass(frozen=True, slots=True)
class Remarks:
    """A valid setting that is probably a mistake. It is no part of what a configuration says, so all are equal."""

    warnings: tuple[Problem, ...] = field(default=(), compare=False)


class ConfigError(NotifierError):
    """The configuration cannot be used."""

    def __init__(self, problems: Iterable[Problem], *, reading: Reading | None = None) -> None:
        self.problems = tuple(problems)
        self.reading = reading  # the files that were read, if there were any
        super().__init__("\n".join(map(str, self.problems)) or None)


class WatchRefused(ConfigError):
    """The watch is not valid."""


def one_line(text: str) -> str:
    """Replace characters that would break the line or move a terminal's cursor."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", text)


def key_path(location: Location) -> str:
    """Write a location as users read it: `endpoints.app.timeout`, `watches[3].id`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[\w*/-]+", part) else json.dumps(part, ensure_ascii=False)
            path += f".{name}" if path else name
    return path


def split_problem(text: str) -> tuple[Location, str]:
    """Split a printed problem that has no file into the location of its key and its message."""
    location: list[int | str] = []
    end = 0
    while part := (_KEY_PART if location else _FIRST_KEY_PART).match(text, end):
        index, name, quoted = part.groups()
        location.append(int(index) if index else name or json.loads(quoted))
        end = part.end()
    return (tuple(location), text[end + 2 :]) if text.startswith(": ", end) else ((), text)


_BOUNDS = {  # pydantic's kinds of error, in our words, with the key of the bound
    "greater_than": ("a number above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("a number below", "lt"),
    "less_than_equal": ("at most", "le"),
}
_SCALARS = {  # the same for kinds that begin so
    "int_": "a whole number such as 100",
    "float_": "a number such as 1.5",
    "finite_": "a number such as 1.5",
    "bool_": "true or false",
}


def suggest(word: str, options: Iterable[str]) -> str | None:
    """Return the option that the user probably meant; None if there is none."""
    import difflib  # only mistakes need it

    by_lower = {option.lower(): option for option in options}
    return next((by_lower[match] for match in difflib.get_close_matches(word.lower()[:200], by_lower, n=1)), None)


def got(value: object) -> str:
    """Describe a refused value without showing a possible secret."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Interpolated():
            return "a variable's value"
        case str() if value.startswith(_PRIVATE) or "://" in value:
            return "a text that may be secret"
        case str() if len(value) > _SHOWN:
            return json.dumps(value[:_SHOWN] + "...", ensure_ascii=False)
        case str():
            return json.dumps(value, ensure_ascii=False)
        case Unclear():
            return value.text[:_SHOWN]
        case Number():
            return value.text[:_SHOWN]
        case int() | float():
            return "a very large number" if 1e30 < abs(value) < math.inf else repr(value)
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return "something else"


def invalid(message: str, *, suggestion: str | None = None) -> PydanticCustomError:
    """Create the error that a validator raises at its own place."""
    return PydanticCustomError("refused", "{message}", {"message": message, "suggestion": suggestion})


def detail(location: Location, fault: PydanticCustomError) -> InitErrorDetails:
    """Place an error below the validator's own location."""
    return InitErrorDetails(type=fault, loc=location, input=None)


def below(key: str, details: Iterable[InitErrorDetails]) -> list[InitErrorDetails]:
    """Move errors one key down."""
    return [InitErrorDetails(type=each["type"], loc=(key, *each.get("loc", ())), input=None) for each in details]


def refusal(details: Iterable[InitErrorDetails]) -> ValidationError:
    """Create the exception for several errors, each below the validator's own location."""
    return ValidationError.from_exception_data("configuration", list(details), hide_input=True)


def carry(exc: ValidationError) -> list[InitErrorDetails]:
    """Return the errors of an exception in our words, to raise them again with others."""
    details = []
    for entry in exc.errors():
        if entry["type"] == "too_short" and entry["input"]:
            continue  # it counts the valid entries; the invalid ones have errors of their own
        message, suggestion = explain(entry)
        details.append(detail(entry["loc"], invalid(message, suggestion=suggestion)))
    return details


def explain(entry: ErrorDetails) -> tuple[str, str | None]:
    """Return pydantic's error in our words: message and suggestion."""
    context: dict[str, Any] = entry.get("ctx", {})
    if "message" in context:
        return str(context["message"]), context.get("suggestion")
    value = entry["input"]
    match entry["type"]:
        case "missing":
            return "required, but missing", None
        case "literal_error" | "enum":
            options = re.findall(r"'([^']*)'", str(context["expected"]))
            hint = suggest(value, options) if isinstance(value, str) else None
            return f"expected {'one of ' if len(options) > 1 else ''}{', '.join(options)}, got {got(value)}", hint
        case "tuple_type" | "list_type":
            return f"expected a list, got {got(value)}", None
        case "dict_type" | "mapping_type" | "model_type" | "model_attributes_type":
            return f"expected a mapping, got {got(value)}", None
        case "string_type":
            return f"expected text, got {got(value)}", None
        case "too_short":
            return "expected at least one entry", None
        case "value_error" if not isinstance(value, Interpolated):
            return " ".join(str(context["error"]).split()), None
        case "extra_forbidden":
            return UNKNOWN_KEY, None  # in a model that is no section, such as a preset's cursor
        case "too_long":
            return f"expected at most {context['max_length']} entries, got {context['actual_length']}", None
        case "string_too_short":
            return "must not be empty", None
        case "string_pattern_mismatch":
            return f"expected text of the form {context['pattern']}, got {got(value)}", None
        case kind if kind in _BOUNDS:
            word, bound = _BOUNDS[kind]
            return f"expected {word} {context[bound]:g}, got {got(value)}", None
        case kind:
            expected = next((words for start, words in _SCALARS.items() if kind.startswith(start)), None)
            return f"expected {expected}, got {got(value)}" if expected else f"refused, got {got(value)}", None
