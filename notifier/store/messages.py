"""The messages that are edited as their tasks move: where each is, for the next edit, by whatever node."""

from __future__ import annotations

from notifier.core.model import ChatMessage
from notifier.core.text import storable
from notifier.store.connection import Connection
from notifier.store.reader import Reader
from notifier.store.writer import Writer

_CONTENT = ("place", "channel", "ts", "sequence", "replied")
_FIND = "SELECT * FROM messages WHERE watch = :watch AND endpoint = :endpoint"
# A message of the same place stays: it may have been edited already.
_ADD = """
INSERT INTO messages (watch, endpoint, place, channel, ts, sequence, replied)
VALUES (:watch, :endpoint, :place, :channel, :ts, :sequence, :replied)
ON CONFLICT (watch, endpoint) DO UPDATE
SET place = excluded.place, channel = excluded.channel, ts = excluded.ts, sequence = excluded.sequence,
    replied = excluded.replied
WHERE messages.place <> excluded.place
"""
_CHANGE = """
UPDATE messages SET place = :place, channel = :channel, ts = :ts, sequence = :sequence, replied = :replied
WHERE watch = :watch AND endpoint = :endpoint AND ts = :before
"""
_PRUNE = "DELETE FROM messages WHERE watch IN (:watches...)"


class Messages:
    """The messages of the store."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def find(self, endpoint: str, watch: int, place: str) -> ChatMessage | None:
        """Return the message of a watch, if it has one there. Raises StoreUnavailable."""

        def find(connection: Connection) -> ChatMessage | None:
            row = connection.execute(_FIND, {"watch": watch, "endpoint": endpoint}).first()
            if row is None or row.place != place:
                return None
            return ChatMessage(
                place=row.place, channel=row.channel, ts=row.ts, sequence=row.sequence, replied=row.replied
            )

        return await self._reader.page(find)

    async def keep(self, endpoint: str, watch: int, message: ChatMessage, *, before: ChatMessage | None) -> None:
        """Save the message of a watch in the place of `before`, if that is still there; after the commit.

        Waits while the database is away.
        """
        row = {"watch": watch, "endpoint": endpoint, **{name: getattr(message, name) for name in _CONTENT}}
        row |= {name: storable(row[name]) for name in ("channel", "ts")}

        def keep(connection: Connection) -> None:
            if before is None:
                connection.execute(_ADD, row)
            else:
                connection.execute(_CHANGE, row | {"before": before.ts})

        await self._writer.call(keep, hold=True)


def prune(connection: Connection, watches: list[int]) -> None:
    """Delete the messages of watches."""
    connection.execute(_PRUNE, {"watches": watches})
