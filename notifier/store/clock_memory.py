"""What the machine's clock showed when dates were last made to follow it, for a start after it was set meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from notifier.runtime.clock import Era, Setting
from notifier.store.connection import Connection
from notifier.store.redating import Note
from notifier.store.values import BEFORE_ALL
from notifier.store.writer import Writer

# Names among the counters.
BOOT, OFFSET = "clock boot", "clock offset"  # that all dates follow, or all that were not moved yet
BEGINS, NEW_OFFSET = "clock move begins", "clock move offset"  # of the era that they are being moved to
WATCHES, DELIVERIES = "clock move watches", "clock move deliveries"  # the keys to continue after
DONE = (1 << 63) - 1  # in place of such a key

_READ = "SELECT name, value FROM counters WHERE name LIKE 'clock %'"
_FORGET = "DELETE FROM counters WHERE name IN (:names...)"
_KEEP = "INSERT INTO counters (name, value) VALUES (:name, :value)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """How far dates have been moved to an era: the keys to continue after; None: all."""

    era: Era
    watches: int | None = BEFORE_ALL
    deliveries: int | None = BEFORE_ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A setting, and the move to the next one, if that is not over."""

    setting: Setting
    move: Move | None


class ClockMemory:
    """The settings of the clock in the store. Every method raises StoreUnavailable.

    It reads by the writer's connection, behind what a caller that was cancelled has left to it.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def last(self) -> Kept | None:
        """Return what was kept last."""
        values = await self._writer.call(_kept_clock)
        if BOOT not in values or OFFSET not in values:
            return None
        return Kept(setting=Setting(boot=values[BOOT], offset=values[OFFSET]), move=_move(values))

    async def keep(self, setting: Setting) -> None:
        """Keep a setting in the place of the last one, and of a move to it; return after the commit."""

        def keep(connection: Connection) -> None:
            _write(connection, {BOOT: setting.boot, OFFSET: setting.offset}, without=list(_kept_clock(connection)))

        await self._writer.call(keep)

    async def move(self, era: Era) -> Move:
        """Return how far dates have been moved to an era."""
        move = _move(await self._writer.call(_kept_clock))
        return move if move is not None and move.era.begins == era.begins else Move(era=era)

    def watches_moved(self, era: Era) -> Note:
        """Return what notes how far dates of watches have been moved to an era."""
        return _noting(era, WATCHES)

    def deliveries_moved(self, era: Era) -> Note:
        """Return what notes how far dates of deliveries have been moved to an era."""
        return _noting(era, DELIVERIES)


def _noting(era: Era, which: str) -> Note:
    def note(connection: Connection, after: int | None) -> None:
        values = {BEGINS: era.begins, NEW_OFFSET: era.offset, which: DONE if after is None else after}
        _write(connection, values, without=list(values))

    return note


def _move(values: Mapping[str, int]) -> Move | None:
    if BEGINS not in values:
        return None
    watches, deliveries = (values.get(name, BEFORE_ALL) for name in (WATCHES, DELIVERIES))
    return Move(
        era=Era(begins=values[BEGINS], offset=values[NEW_OFFSET]),
        watches=None if watches == DONE else watches,
        deliveries=None if deliveries == DONE else deliveries,
    )


def _kept_clock(connection: Connection) -> dict[str, int]:
    return {row.name: row.value for row in connection.execute(_READ)}


def _write(connection: Connection, values: Mapping[str, int], *, without: list[str]) -> None:
    if without:
        connection.execute(_FORGET, {"names": without})
    connection.execute(_KEEP, [{"name": name, "value": value} for name, value in values.items()])
