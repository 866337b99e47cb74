"""Parameters in PostgreSQL's binary format: single values, and the values of many rows as an array (`array_send`)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

_HEAD = struct.Struct("!iiiii")  # dimensions, nulls among them, the elements' type, their number, the first's index
_NULL = struct.pack("!i", -1)
_length = struct.Struct("!i").pack


def _fixed(code: str) -> tuple[Callable[[Any], bytes], Callable[[Any], bytes]]:
    """Return how a value of fixed size is written, alone and as an element."""
    alone, element = struct.Struct(f"!{code}"), struct.Struct(f"!i{code}")
    return alone.pack, lambda value: element.pack(alone.size, value)


def _text_element(value: str) -> bytes:
    data = value.encode()
    return _length(len(data)) + data


def _bytes_element(value: bytes) -> bytes:
    return _length(len(value)) + value


# By the name of the type: its number in pg_type, and how a value is written, alone and as an element.
_KINDS: dict[str, tuple[int, Callable[[Any], bytes], Callable[[Any], bytes]]] = {
    "bigint": (20, *_fixed("q")),
    "text": (25, str.encode, _text_element),
    "bytea": (17, bytes, _bytes_element),
    "boolean": (16, *_fixed("?")),
    "float8": (701, *_fixed("d")),
}


def pack(kind: str) -> Callable[[Any], bytes | None]:
    """Return the function that packs one value, or None; it raises OverflowError beyond 64 bits."""
    _, write, _ = _KINDS[kind]

    def one(value: Any) -> bytes | None:
        try:
            return None if value is None else write(value)
        except struct.error as exc:
            raise OverflowError(*exc.args) from exc

    return one


def packer(kind: str) -> Callable[[Sequence[Any]], bytes]:
    """Return the function that packs values of a type, or None, as an array; it raises OverflowError beyond 64 bits."""
    number, _, write = _KINDS[kind]

    def many(values: Sequence[Any]) -> bytes:
        try:
            items = [_NULL if value is None else write(value) for value in values]
        except struct.error as exc:
            raise OverflowError(*exc.args) from exc
        return _HEAD.pack(1, None in values, number, len(items), 1) + b"".join(items)

    return many
