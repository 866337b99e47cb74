"""JSON strictly by RFC 8259: no Infinity or NaN (section 6), and no name twice in an object (section 4)."""

from __future__ import annotations

import json
from typing import NoReturn

from notifier.core.errors import NotifierError
from notifier.core.model import Json


class SameKeyTwice(NotifierError):
    """A mapping has the same key twice."""


def parse(text: str) -> Json:
    """Return the value.

    Raises ValueError if the text is not JSON, RecursionError if it is nested too deeply, SameKeyTwice.
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=no_constant)


def no_constant(name: str) -> NoReturn:
    """Refuse a constant that Python accepts and JSON does not have; for `parse_constant`. Raises ValueError."""
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise SameKeyTwice("a mapping has the same key twice")
    return value
