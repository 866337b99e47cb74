"""JSON as RFC 8259 has it and no more: no Infinity, no NaN (section 6), and no name twice in an object (section 4)."""

from __future__ import annotations

import json
from typing import NoReturn

from notifier.core.errors import NotifierError
from notifier.core.model import Json


class SameKeyTwice(NotifierError):
    """A mapping has the same key twice."""


def parse(text: str) -> Json:
    """Return the value.

    Raises ValueError for what is no JSON, RecursionError for what is nested too deeply, SameKeyTwice.
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=no_constant)


def no_constant(name: str) -> NoReturn:
    """Refuse what Python takes for a number and JSON does not have; for `parse_constant`. Raises ValueError."""
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise SameKeyTwice("a mapping has the same key twice")
    return found
