"""What the machine's clock showed when dates were last made to follow it, for a start after it was set meanwhile.

How far dates have been moved to a new setting is saved with the rows: whoever ends in the middle moves none twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from notifier.runtime.clock import Era, Setting
from notifier.store import redating
from notifier.store.connection import Connection
from notifier.store.values import BEFORE_ALL, ClockShift
from notifier.store.writer import Writer

# Names among the counters.
BOOT, OFFSET = "clock boot", "clock offset"  # that all dates follow, or all that were not moved yet
BEGINS, NEW_OFFSET = "clock move begins", "clock move offset"  # of the era that they are being moved to
WATCHES, DELIVERIES = "clock move watches", "clock move deliveries"  # the keys to continue after
DONE = (1 << 63) - 1  # in place of such a key

_READ = "SELECT name, value FROM counters WHERE name LIKE 'clock %'"
_FORGET = "DELETE FROM counters WHERE name LIKE 'clock %'"
_KEEP = "INSERT INTO counters (name, value) VALUES (:name, :value)"
_STEPS = {WATCHES: redating.watches_moved, DELIVERIES: redating.deliveries_moved}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The setting that dates follow, and the era that some of them follow already."""

    setting: Setting
    moving: Era | None


class ClockMemory:
    """The settings of the clock in the store. Every method raises StoreUnavailable."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def last(self) -> Kept | None:
        """Return what was kept last."""
        values = await self._writer.call(_kept_clock)
        if BOOT not in values or OFFSET not in values:
            return None
        moving = Era(begins=values[BEGINS], offset=values[NEW_OFFSET]) if BEGINS in values else None
        return Kept(setting=Setting(boot=values[BOOT], offset=values[OFFSET]), moving=moving)

    async def keep(self, setting: Setting) -> None:
        """Keep a setting that all dates follow; return after the commit."""
        await self._writer.call(lambda connection: _write(connection, {BOOT: setting.boot, OFFSET: setting.offset}))

    async def move(self, era: Era, shift: ClockShift) -> bool:
        """Move the dates of the next open rows to an era; return whether there may be more of them."""

        def move(connection: Connection) -> bool:
            values = _kept_clock(connection)
            if values.get(BEGINS) != era.begins:  # this move has not begun
                values = {name: value for name, value in values.items() if name in (BOOT, OFFSET)}
            for name, step in _STEPS.items():
                after = values.get(name, BEFORE_ALL)
                if after != DONE:
                    next_ = step(connection, shift=shift, after=after)
                    values |= {BEGINS: era.begins, NEW_OFFSET: era.offset, name: DONE if next_ is None else next_}
                    _write(connection, values)
                    return True
            return False

        return await self._writer.call(move)


def _kept_clock(connection: Connection) -> dict[str, int]:
    return {row.name: row.value for row in connection.execute(_READ)}


def _write(connection: Connection, values: Mapping[str, int]) -> None:
    connection.execute(_FORGET)
    connection.execute(_KEEP, [{"name": name, "value": value} for name, value in values.items()])
