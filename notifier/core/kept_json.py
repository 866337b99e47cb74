"""JSON that is kept as its text, until somebody asks for the value. Pure.

A watch that waits may wait for hours among a hundred thousand others. Its labels and metadata take a fourth of the
memory as text, and are needed only when it has an event.
"""

from __future__ import annotations

import json
from collections.abc import ItemsView, Iterator, Mapping
from typing import Any


class KeptJson:
    """A JSON value. It equals its value, and others of the same value."""

    __slots__ = ("text",)
    __hash__ = None  # type: ignore[assignment]  # as that of a list

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def value(self) -> Any:
        """Return the value, made anew."""
        return json.loads(self.text)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, KeptJson):
            return self.text == other.text or bool(self.value == other.value)
        return bool(self.value == other)

    def __repr__(self) -> str:
        return repr(self.value)


class KeptLabels(Mapping[str, str]):
    """A JSON object of texts."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def items(self) -> ItemsView[str, str]:
        """Return all of them at once."""
        return self._mapping.items()

    def __getitem__(self, name: str) -> str:
        return self._mapping[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    def __repr__(self) -> str:
        return repr(self._mapping)

    @property
    def _mapping(self) -> dict[str, str]:
        mapping: dict[str, str] = json.loads(self.text)
        return mapping
