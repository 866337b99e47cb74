"""The messages that are edited as their tasks move: where each is, for the next edit, by whatever node."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, select, text, update

from notifier.core.model import ChatMessage
from notifier.core.text import storable
from notifier.store.reader import Reader
from notifier.store.schema import messages
from notifier.store.writer import Writer

_CONTENT = ("place", "channel", "ts", "sequence", "replied")
_FIND = select(messages).where(messages.c.watch == bindparam("_watch"), messages.c.endpoint == bindparam("_endpoint"))
# The same on both databases. A message of the same place stays: it may have been edited already.
_ADD = text(
    "INSERT INTO messages (watch, endpoint, place, channel, ts, sequence, replied)"
    " VALUES (:watch, :endpoint, :place, :channel, :ts, :sequence, :replied)"
    " ON CONFLICT (watch, endpoint) DO UPDATE SET place = excluded.place, channel = excluded.channel,"
    " ts = excluded.ts, sequence = excluded.sequence, replied = excluded.replied"
    " WHERE messages.place <> excluded.place"
)
_CHANGE = (
    update(messages)
    .where(
        messages.c.watch == bindparam("_watch"),
        messages.c.endpoint == bindparam("_endpoint"),
        messages.c.ts == bindparam("_before"),
    )
    .values({name: bindparam(name) for name in _CONTENT})
)


class Messages:
    """The messages of the store."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def find(self, endpoint: str, watch: int, place: str) -> ChatMessage | None:
        """Return the message of a watch, if it has one there. Raises StoreUnavailable."""

        def find(connection: Connection) -> ChatMessage | None:
            row = connection.execute(_FIND, {"_watch": watch, "_endpoint": endpoint}).first()
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
                return
            change = {name: row[name] for name in _CONTENT}
            connection.execute(_CHANGE, change | {"_watch": watch, "_endpoint": endpoint, "_before": before.ts})

        await self._writer.call(keep, hold=True)


def forget(connection: Connection, watches: list[int]) -> None:
    """Forget the messages of watches."""
    connection.execute(delete(messages).where(messages.c.watch.in_(watches)))
