"""What the listener remembers, to tell repeats and wrong order. Bounded: the oldest is forgotten."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from notifier.tools.callback import Callback

MAX_REMEMBERED = 100_000  # message ids, and watches; some tens of MiB


class Books:
    """Message ids and sequences, by path: two endpoints of one daemon are told of the same event under one id."""

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._arrivals: OrderedDict[tuple[str, str], tuple[int, bool]] = OrderedDict()  # how many, and one answered 2xx
        self._sequences: OrderedDict[tuple[str, str | None, str], int] = OrderedDict()  # highest so far

    def enter(self, callback: Callback, *, accepted: bool) -> Callback:
        """Write a callback in; return it with what the books say of it. `accepted`: it will be answered 2xx."""
        if callback.id is not None:
            key = (callback.path, callback.id)
            arrivals, accepted_before = self._arrivals.pop(key, (0, False))
            self._arrivals[key] = (arrivals + 1, accepted_before or accepted)
            callback = replace(callback, attempt=arrivals + 1, accepted_before=accepted_before)
            if len(self._arrivals) > self._limit:
                self._arrivals.popitem(last=False)
        if callback.watch is not None and callback.sequence is not None and not callback.duplicate:
            watch = (callback.path, callback.source, callback.watch)
            highest = self._sequences.pop(watch, 0)
            self._sequences[watch] = max(highest, callback.sequence)
            callback = replace(callback, out_of_order=callback.sequence <= highest)
            if len(self._sequences) > self._limit:
                self._sequences.popitem(last=False)
        return callback
