"""The kinds of body that an upstream may answer with, by its content type."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import lru_cache

from notifier.core.http_head import Fields


class Kind(Enum):
    """A kind of body."""

    STREAM = "stream"  # an event stream
    JSON = "json"  # one snapshot
    EITHER = "either"  # both are named: the first byte tells
    PAGE = "page"  # text for people, such as a maintenance page: it says nothing of the task
    OTHER = "other"  # no event stream, and nothing that a gateway in front of one would send


_PAGES = frozenset({"", "application/xhtml+xml", "application/xml"})
_BLANK, _BOM = b" \t\r\n", b"\xef\xbb\xbf"


def kind_of(values: Iterable[str]) -> Kind:
    """Return the kind by the values of the Content-Type header. Several types may stand in one value, or in several."""
    return _kind(",".join(values))


@lru_cache(maxsize=32)  # an upstream says the same in nearly every reply
def _kind(value: str) -> Kind:
    types = [part.partition(";")[0].strip().lower() for part in value.split(",")]
    types = [name for name in types if name] or [""]
    stream = "text/event-stream" in types
    json = any(name == "application/json" or name.endswith("+json") for name in types)
    if stream or json:
        return Kind.EITHER if stream and json else Kind.STREAM if stream else Kind.JSON
    if all(name in _PAGES or name.startswith("text/") for name in types):
        return Kind.PAGE
    return Kind.OTHER


def beginning(body: bytes | bytearray) -> Kind | None:
    """Return what the first byte that is neither white space nor a BOM makes of a body; None: there is none yet.

    No line of an event stream begins with a brace, a bracket or `<`.
    """
    first = body.lstrip(_BLANK).removeprefix(_BOM).lstrip(_BLANK)[:1]
    if not first:
        return None
    return Kind.JSON if first in (b"{", b"[") else Kind.PAGE if first == b"<" else Kind.STREAM


def is_page(fields: Fields, body: bytes) -> bool:
    """Return whether a body that could not be read as JSON is one for people, whatever its content type says."""
    kind = beginning(body)
    return kind is Kind.PAGE or (kind is not Kind.JSON and kind_of(fields.values_of("content-type")) is Kind.PAGE)


def refusal(fields: Fields) -> str:
    """Return the message of the error for a reply that is neither a stream nor a snapshot."""
    answered = fields.get("content-type", "none")[:100]
    return f"the upstream answers with content type {answered!r}, not an event stream"
