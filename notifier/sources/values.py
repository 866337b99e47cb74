"""Reads single values of a snapshot: numbers, progress, times, errors, URLs. None of them raises.

Most are null in most snapshots, so each asks for that first.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime

from notifier.core.model import Json, TaskError

MAX_DIGITS = 100  # characters of a number in a string
MAX_URL = 16 << 10  # characters; a longer text is no URL but the media themselves, as base64
ABSOLUTE = 1e9  # a number of seconds this large is a time since the epoch
LATEST = 253_402_300_799.0  # the last second that a date with a year of four digits can name

_NUMBER = re.compile(r"\s*([+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?)\s*%?\s*", re.ASCII)


def present(value: Json) -> bool:
    """Return whether JMESPath takes the value for true: anything but null, false and empty values."""
    return value is not None and value is not False and value not in ("", [], {})


def number(value: Json) -> float | None:
    """Return a finite number, also of a string such as `45%`."""
    if value is None:
        return None
    if isinstance(value, str):
        matched = _NUMBER.fullmatch(value) if len(value) <= MAX_DIGITS else None
        value = float(matched[1]) if matched else None
    if type(value) is not int and type(value) is not float:
        return None
    try:
        result = float(value)
    except OverflowError:  # an integer beyond any float
        return None
    return result if math.isfinite(result) else None


def task_error(code: Json, message: Json) -> TaskError | None:
    """Return the error of a code and a message; None if there is neither.

    A message that is a mapping is read in the forms of `error_in`; of another one, and of a list, the JSON is told.
    """
    if message and isinstance(message, dict | list):
        inner = error_in(message) if isinstance(message, dict) else None
        told = inner.message if inner is not None and inner.message else _written(message)
        return TaskError(code=word(code) or (inner.code if inner is not None else None), message=told)
    code, message = word(code), word(message)
    return TaskError(code=code, message=message) if code or message else None


def error_in(failure: Json) -> TaskError | None:
    """Return the code and the message of an error in the forms that providers use, where the preset names no paths."""
    if failure is None:
        return None
    if not isinstance(failure, dict):
        return task_error(None, failure)
    code = next((text for name in ("code", "type", "status") if (text := word(failure.get(name)))), None)
    message = next(
        (text for name in ("message", "detail", "error", "reason") if (text := word(failure.get(name)))), None
    )
    return TaskError(code=code, message=message) if code or message else None


def _written(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def progress(value: Json) -> float | None:
    """Return a progress in the provider's unit; a list of two counts, done and total, is a share from 0 to 1."""
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2:
        done, total = map(number, value)
        return number(done / total) if done is not None and total else None  # two floats may make an infinite one
    return number(value)


def seconds_left(value: Json, now: float) -> float | None:
    """Return the seconds left; a time (ISO 8601, or seconds or milliseconds since the epoch) is absolute."""
    if value is None:
        return None
    seconds = number(value)
    if seconds is None or seconds >= ABSOLUTE:
        absolute = moment(value)
        seconds = None if absolute is None else absolute - now
    return seconds if seconds is not None and seconds > 0 else None  # 0 means unknown


def moment(value: Json) -> float | None:
    """Return a time (ISO 8601, or seconds or milliseconds since the epoch) in seconds; of a list, the earliest."""
    if value is None:
        return None
    if isinstance(value, list):
        return min(
            (at for item in value if not isinstance(item, list) and (at := moment(item)) is not None), default=None
        )
    seconds = number(value)
    if seconds is None and isinstance(value, str) and len(value) <= MAX_DIGITS:
        try:
            told = datetime.fromisoformat(value)
            seconds = (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    if seconds is None:
        return None
    seconds = seconds / 1000 if seconds >= ABSOLUTE * 1000 else seconds
    return seconds if ABSOLUTE <= seconds <= LATEST else None


def word(value: Json) -> str | None:
    """Return a code or message as text; None if it is empty or zero, which mean that there is no error."""
    if value is None:
        return None
    if isinstance(value, str):
        return value or None
    if isinstance(value, int | float) and not isinstance(value, bool) and value:
        return json.dumps(value)
    return None


def urls(value: Json) -> tuple[str, ...]:
    """Flatten to the strings in a string or in lists of them."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,) if 0 < len(value) <= MAX_URL else ()
    if isinstance(value, list):
        return tuple(url for item in value for url in urls(item))
    return ()
