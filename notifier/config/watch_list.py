"""The watches of a configuration, which may be a hundred thousand, in a fraction of their memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import eq
from typing import overload

from notifier.config.packed import Packed
from notifier.config.watch import WatchConfig, WatchRow
from notifier.core.model import NONE, NewWatch

SLICE = 500  # watches in the store's form at a time


class WatchList(Sequence[WatchConfig]):
    """Watches, each of which is made anew when it is read."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: Packed[WatchRow] = Packed()

    def append(self, row: WatchRow) -> None:
        """Add a watch."""
        self._rows.append(row)

    def rows(self) -> Iterator[WatchRow]:
        """Yield the values of the watches."""
        return iter(self._rows)

    def requests(self) -> Iterator[Sequence[NewWatch]]:
        """Yield the watches in the store's form, some hundred at a time."""
        for rows in self._rows.chunks():
            for start in range(0, len(rows), SLICE):
                yield [
                    NewWatch(
                        id=task,
                        source=source,
                        endpoints=endpoints,
                        labels=labels,
                        metadata=metadata,
                        variables=variables or NONE,
                        traceparent=traceparent,
                    )
                    for task, source, endpoints, labels, metadata, variables, traceparent in rows[start : start + SLICE]
                ]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WatchList):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self._rows, other._rows))

    __hash__ = None  # type: ignore[assignment]  # a list can grow

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[WatchConfig]:
        return map(WatchConfig.of_row, self._rows)

    @overload
    def __getitem__(self, index: int) -> WatchConfig: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[WatchConfig]: ...

    def __getitem__(self, index: int | slice) -> WatchConfig | Sequence[WatchConfig]:
        if isinstance(index, slice):
            return list(map(WatchConfig.of_row, self._rows[index]))
        return WatchConfig.of_row(self._rows[index])
