"""What the machine's clock showed when dates were last made to follow it, for a start after it was set meanwhile."""

from __future__ import annotations

from notifier.runtime.clock import Setting
from notifier.store.connection import Connection
from notifier.store.reader import Reader
from notifier.store.writer import Writer

BOOT, OFFSET = "clock boot", "clock offset"  # names among the counters

_LAST = "SELECT name, value FROM counters WHERE name IN (:names...)"
_FORGET = "DELETE FROM counters WHERE name IN (:names...)"
_KEEP = "INSERT INTO counters (name, value) VALUES (:name, :value)"


class ClockMemory:
    """A setting of the clock in the store. Every method raises StoreUnavailable."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def last(self) -> Setting | None:
        """Return the setting that was kept last."""

        def read(connection: Connection) -> Setting | None:
            values = {row.name: row.value for row in connection.execute(_LAST, {"names": [BOOT, OFFSET]})}
            return Setting(boot=values[BOOT], offset=values[OFFSET]) if len(values) == 2 else None

        return await self._reader.page(read)

    async def keep(self, setting: Setting) -> None:
        """Keep a setting in the place of the last one; return after the commit."""

        def keep(connection: Connection) -> None:
            connection.execute(_FORGET, {"names": [BOOT, OFFSET]})
            rows = [{"name": BOOT, "value": setting.boot}, {"name": OFFSET, "value": setting.offset}]
            connection.execute(_KEEP, rows)

        await self._writer.call(keep)
