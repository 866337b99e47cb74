"""The mutes of endpoints that people read. They are kept for a while after their end, for what is sent late."""

from __future__ import annotations

import json

from notifier.core.model import Micros
from notifier.core.mute import Mute
from notifier.core.text import storable
from notifier.store.connection import Connection
from notifier.store.reader import Reader
from notifier.store.writer import Writer

_SINCE = "SELECT * FROM mutes WHERE until > :ended_after ORDER BY created_at, id"
_ADD = """
INSERT INTO mutes (id, until, created_at, endpoint, labels, comment)
VALUES (:id, :until, :created_at, :endpoint, :labels, :comment)
"""
_REMOVE = "DELETE FROM mutes WHERE id = :id"
_PRUNE = "DELETE FROM mutes WHERE until < :before"


class Mutes:
    """The mutes of the store. Every method raises StoreUnavailable; one that writes returns after its commit."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def since(self, ended_after: Micros) -> list[Mute]:
        """Return the mutes that end, or have ended, after a time; oldest first."""

        def read(connection: Connection) -> list[Mute]:
            return [
                Mute(
                    id=row.id,
                    until=row.until,
                    created_at=row.created_at,
                    endpoint=row.endpoint,
                    labels=json.loads(row.labels),
                    comment=row.comment,
                )
                for row in connection.execute(_SINCE, {"ended_after": ended_after})
            ]

        return await self._reader.page(read)

    async def add(self, mute: Mute) -> None:
        """Add a mute."""
        row = {
            "id": mute.id,
            "until": mute.until,
            "created_at": mute.created_at,
            "endpoint": mute.endpoint,
            "labels": json.dumps(dict(mute.labels), sort_keys=True),
            "comment": storable(mute.comment),
        }
        await self._writer.call(lambda connection: connection.execute(_ADD, row) and None)

    async def remove(self, mute: str) -> bool:
        """Remove a mute; return whether there was one."""

        def remove(connection: Connection) -> bool:
            return connection.execute(_REMOVE, {"id": mute}).count > 0

        return await self._writer.call(remove)


def prune(connection: Connection, *, before: Micros) -> None:
    """Delete mutes that ended before."""
    connection.execute(_PRUNE, {"before": before})
