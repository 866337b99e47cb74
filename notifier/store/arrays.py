"""Columns of rows as PostgreSQL's arrays, so that one statement takes all rows of a group.

They are packed here, in the server's binary format (`array_send`), since psycopg would examine each element.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import BigInteger, Boolean, Float, Integer, LargeBinary, Text
from sqlalchemy.types import TypeEngine

_HEAD = struct.Struct("!iiiii")  # dimensions, nulls among them, the elements' type, their number, the first's index
_NULL = struct.pack("!i", -1)
_length = struct.Struct("!i").pack


class Packed(bytes):
    """An array in the server's binary format."""

    oid: int  # of its type, in pg_type


class _Numbers(Packed):
    oid = 1016


class _Texts(Packed):
    oid = 1009


class _Bytes(Packed):
    oid = 1001


class _Flags(Packed):
    oid = 1000


class _Floats(Packed):
    oid = 1022


def _fixed(code: str) -> Callable[[Any], bytes]:
    item = struct.Struct(f"!i{code}")
    return lambda value: item.pack(item.size - 4, value)


def _text(value: str) -> bytes:
    data = value.encode()
    return _length(len(data)) + data


def _bytes(value: bytes) -> bytes:
    return _length(len(value)) + value


# By the type of the elements: the type of the array, the number of the elements' type in pg_type, how one is written.
_KINDS: dict[type[TypeEngine[Any]], tuple[type[Packed], int, Callable[[Any], bytes]]] = {
    BigInteger: (_Numbers, 20, _fixed("q")),
    Integer: (_Numbers, 20, _fixed("q")),
    Text: (_Texts, 25, _text),
    LargeBinary: (_Bytes, 17, _bytes),
    Boolean: (_Flags, 16, _fixed("?")),
    Float: (_Floats, 701, _fixed("d")),
}


def packer(element: TypeEngine[Any]) -> Callable[[Sequence[Any]], Packed]:
    """Return the function that packs values of a type, or None; it raises OverflowError beyond 64 bits."""
    kind, number, write = _KINDS[type(element)]

    def pack(values: Sequence[Any]) -> Packed:
        try:
            items = [_NULL if value is None else write(value) for value in values]
        except struct.error as exc:
            raise OverflowError(*exc.args) from exc
        return kind(_HEAD.pack(1, None in values, number, len(items), 1) + b"".join(items))

    return pack


def register(connection: Any) -> None:
    """Teach a connection of psycopg to send them."""
    from psycopg.adapt import Dumper  # loaded only where PostgreSQL is used
    from psycopg.pq import Format

    def dump(_: Dumper, packed: Packed) -> Packed:
        return packed

    for kind, *_ in _KINDS.values():
        made = type(f"{kind.__name__}Dumper", (Dumper,), {"oid": kind.oid, "format": Format.BINARY, "dump": dump})
        connection.adapters.register_dumper(kind, made)
