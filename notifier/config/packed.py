"""A list that is read from its beginning to its end, and kept in a tenth of the memory of its items."""

from __future__ import annotations

import marshal
import pickle
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, overload

T = TypeVar("T")

CHUNK = 2000  # items that are packed together: enough for a block that is given back when it is freed


class Packed(Sequence[T]):
    """Items made of plain values, such as dicts, tuples and texts. An item is made anew each time it is read."""

    __slots__ = ("_chunks", "_rest")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._rest: list[T] = []  # not packed yet

    def append(self, item: T) -> None:
        """Add an item."""
        self._rest.append(item)
        if len(self._rest) >= CHUNK:
            self._chunks.append(_pack(self._rest))
            self._rest = []

    def chunks(self) -> Iterator[Sequence[T]]:
        """Yield the items in groups of CHUNK; the last group may be smaller."""
        yield from map(_unpack, self._chunks)
        if self._rest:
            yield self._rest

    def __len__(self) -> int:
        return CHUNK * len(self._chunks) + len(self._rest)

    def __iter__(self) -> Iterator[T]:
        for chunk in self.chunks():
            yield from chunk

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return list(self)[index]
        number, place = divmod(range(len(self))[index], CHUNK)
        chunk: Sequence[T] = _unpack(self._chunks[number]) if number < len(self._chunks) else self._rest
        return chunk[place]


def _pack(items: list[Any]) -> bytes:
    try:
        return marshal.dumps(items)
    except ValueError:  # a class of our own among them, such as Interpolated
        return pickle.dumps(items)


def _unpack(packed: bytes) -> list[Any]:
    """Return the items. Both forms were made by this process."""
    items: list[Any] = pickle.loads(packed) if packed.startswith(pickle.PROTO) else marshal.loads(packed)
    return items
