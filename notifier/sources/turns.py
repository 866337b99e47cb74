"""Turns at the event loop for streams that never pause.

A stream that waits for the network lets others run while it waits. One that always has bytes, as a compressed flood of
comments does, would keep the loop for itself. It works in turns of a few milliseconds, and the streams of a source that
need several turns in a row share a fifth of the loop's time.
"""

from __future__ import annotations

READ = 8 << 10  # bytes taken at once
SLOWEST = 0.0015 / READ  # seconds a byte that a decoder needs at most, for the worst of them
TURN_BYTES = 64 << 10  # after so many a turn is over
TURN_SECONDS = 0.005  # and after so long
SHARE = 0.2  # of the loop's time, for all streams of a source that need more than a turn
LONGEST = 2 * TURN_SECONDS  # a turn counts for no more: for the rest of it the whole process stood still


class Turns:
    """Says how long a stream of a source rests after a turn."""

    def __init__(self) -> None:
        self._free = 0.0  # when the source may have its next turn

    def rest(self, worked: float, now: float) -> float:
        """Return the seconds to rest after a turn of `worked` seconds that ended `now`."""
        self._free = max(self._free, now) + min(worked, LONGEST) / SHARE
        return self._free - now
