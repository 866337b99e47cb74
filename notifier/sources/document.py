"""The document that a provider sends, as values, and the places in it that JMESPath names. Does no I/O.

Its values are safe to store and to send on: finite numbers, strings that are Unicode text without NUL (which PostgreSQL
refuses), bounded nesting. No input raises anything but Unreadable.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable
from typing import Any

import jmespath

from notifier.core.errors import Unreadable
from notifier.core.model import Json
from notifier.core.text import storable
from notifier.sources.preset import compilable

MAX_DEPTH = 64  # of nested values; far more would exhaust the stack of the code that writes them again
MAX_INTEGER = 4000  # digits; Python refuses to convert more than 4,300
MAX_VALUES = 1_000_000  # each takes far more memory than its bytes; a snapshot of a task has a few dozen
_AROUND = "\0 \t\r\n"  # is dropped around a document
PIECE = 64 << 10  # bytes or characters that one call takes of a large document

Find = Callable[[Json], Json]

_NAMES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_UNSTORABLE_ESCAPES = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_BAD_ESCAPE = re.compile(r"""\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}|(.?))""", re.DOTALL)  # group 1: there is no such escape


def parse(data: bytes) -> Json:
    """Parse JSON into values that can be stored and written again. Raises Unreadable.

    It reads what careless writers send, too: NaN, infinities and numbers that no parser can hold become null, control
    characters in strings stay, an escape that does not exist is its own characters, NULs around the text are dropped.
    """
    nested = data.count(b"[") + data.count(b"{")
    large = len(data) > PIECE  # a smaller one cannot hold so many values
    if large and nested + data.count(b",") > MAX_VALUES:
        raise Unreadable(f"the snapshot holds more than {MAX_VALUES} values")
    text = (_text(data) if large else data.decode("utf-8", "replace")).strip(_AROUND)
    if text[:1] == "\ufeff":
        text = text[1:].strip(_AROUND)
    try:
        try:
            value = _decoded(text)
        except json.JSONDecodeError as exc:
            if not exc.msg.startswith("Invalid"):
                raise
            value = _decoded(_BAD_ESCAPE.sub(_escaped, text))
        if "\0" in text or (b"\\u" in data and _UNSTORABLE_ESCAPES.search(data)) or nested > MAX_DEPTH:
            value = _cleaned(value, MAX_DEPTH)
    except ValueError as exc:
        raise Unreadable(f"the snapshot is not JSON: {_brief(exc)}") from exc
    except RecursionError as exc:
        raise Unreadable("the snapshot is nested too deeply") from exc
    return value


def _text(data: bytes) -> str:
    """Decode the UTF-8 of a large document piece by piece: other threads can run between two calls."""
    decoder = _utf8("replace")
    pieces = [decoder.decode(data[at : at + PIECE]) for at in range(0, len(data), PIECE)]
    return "".join(pieces) + decoder.decode(b"", final=True)


def _decoded(text: str) -> Json:
    """Return the value of a text without white space around it, as `JSONDecoder.decode` does with six calls less."""
    size = len(text)
    scan = _scan_short if size <= MAX_INTEGER else _scan if size <= PIECE else _scan_large
    try:
        value, end = scan(text, 0)
    except StopIteration as exc:
        raise json.JSONDecodeError("Expecting value", text, exc.value) from None
    if end != size:
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def find(path: str | None) -> Find:
    """Compile a path. Where it cannot be followed, as with no path, the result is None."""
    if path is None:
        return lambda _: None
    if not _NAMES.fullmatch(path):
        return _expression(path)
    names = tuple(path.split("."))
    if len(names) == 1:
        name = path
        return lambda task: task.get(name) if isinstance(task, dict) else None

    def follow(task: Json) -> Json:
        for name in names:
            if not isinstance(task, dict):
                return None
            task = task.get(name)
        return task

    return follow


class PathFunctions(jmespath.functions.Functions):
    """The functions that paths may use beyond those of JMESPath."""

    @jmespath.functions.signature({"types": []})
    def _func_parse_json(self, text: Json) -> Json:
        """Return the value of JSON in a string; null if it is none."""
        try:
            return parse(text.encode()) if isinstance(text, str) else None
        except Unreadable:
            return None


def _expression(path: str) -> Find:
    options = jmespath.Options(custom_functions=PathFunctions())
    compiled = jmespath.compile(compilable(path))

    def search(task: Json) -> Json:
        try:
            return compiled.search(task, options)
        # JMESPath's own errors are ValueErrors; the library also compares and adds whatever it is given.
        except (ValueError, TypeError, ArithmeticError, RecursionError):
            return None

    return search


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _whole(digits: str) -> int | None:
    """Return an integer; None if it has more digits than Python reads or writes."""
    return int(digits) if len(digits) <= MAX_INTEGER else None


def _escaped(escape: re.Match[str]) -> str:
    return escape[0] if escape[1] is None else "\\" + escape[0]


def _scanner(**rules: Any) -> Callable[[str, int], tuple[Json, int]]:
    """Return the function that reads a value; `strict=False` lets control characters stand in strings."""
    decoder: Any = json.JSONDecoder(strict=False, parse_constant=lambda _: None, parse_float=_finite, **rules)
    return decoder.scan_once  # type: ignore[no-any-return]  # every version has it


_scan_short = _scanner()  # no integer in it is too long
_scan = _scanner(parse_int=_whole)
# A call of Python for each object lets other threads run meanwhile.
_scan_large = _scanner(parse_int=_whole, object_hook=lambda value: value)
_utf8 = codecs.getincrementaldecoder("utf-8")


def _brief(exc: ValueError) -> str:
    """Describe the error without quoting the document."""
    return f"{exc.msg} at character {exc.pos}" if isinstance(exc, json.JSONDecodeError) else str(exc)[:100]


def _cleaned(value: Json, depth: int) -> Json:
    if isinstance(value, str) and len(value) <= PIECE:
        return storable(value)
    if isinstance(value, str):
        return "".join(storable(value[at : at + PIECE]) for at in range(0, len(value), PIECE))
    if isinstance(value, dict | list) and not depth:
        raise RecursionError
    if isinstance(value, dict):
        return {storable(key): _cleaned(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item, depth - 1) for item in value]
    return value
