"""Runs a statement for many rows on SQLite, in few calls.

The driver gives up the interpreter's lock for each step of a statement, waits for it after that, and looks up each
parameter by its name. So the row of parameters behind VALUES is repeated for as many rows as there are, and parameters
go by their place. A statement without such a row runs once for each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

ROWS = (64, 32, *range(16, 0, -1))  # of one call: nearly any group needs one; the texts stay prepared

Row = Mapping[str, Any]

_VALUES = re.compile(r"(?<=VALUES )(\([^()]*\))")  # the row of parameters
_NAME = re.compile(r"(?<!:):(\w+)")


class Several:
    """A statement in SQLite's words."""

    def __init__(self, text: str) -> None:
        text = " ".join(text.split())
        parts = _VALUES.split(text)
        self.text = text
        self._texts: dict[int, str] | None = None  # by the number of rows; None: it runs once for each
        if len(parts) == 3 and not _NAME.search(parts[0] + parts[2]) and len(names := _NAME.findall(parts[1])) > 1:
            before, row, after = parts
            self._values = itemgetter(*names)  # a tuple, of more than one name
            one = _NAME.sub("?", row)
            self._texts = {count: f"{before}{', '.join([one] * count)}{after}" for count in ROWS}

    @property
    def takes_all(self) -> bool:
        """Return whether one call takes several rows."""
        return self._texts is not None

    def run(self, cursor: Any, rows: Sequence[Row]) -> int:
        """Run it for these rows; return the number of rows that were changed."""
        if self._texts is None:
            cursor.executemany(self.text, rows)
            return int(cursor.rowcount)
        given, done, count = list(map(self._values, rows)), 0, 0
        for size in ROWS:
            while len(given) - done >= size:
                cursor.execute(self._texts[size], tuple(chain.from_iterable(given[done : done + size])))
                count += cursor.rowcount
                done += size
        return count
