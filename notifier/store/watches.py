"""The watches: the tasks to follow. They are added, described, removed, claimed by a node and released."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from notifier.core.model import Micros, NewWatch, Watch
from notifier.store import callbacks, redating
from notifier.store import statements as sql
from notifier.store.connection import Connection, RowExists
from notifier.store.node import named
from notifier.store.rows import described, description, watch_from
from notifier.store.transaction import Transaction
from notifier.store.values import BEFORE_ALL, WatchChanges
from notifier.store.writer import Writer

MAX_RIVALS = 5  # tries while other nodes add the same watches at the same moment
CHUNK = 400  # ids in one statement: SQLite takes 32,766 parameters, older builds 999
# Rows given to the driver at once. It prepares all of them before it sends the first, and a server does not wait long
# for a client that has begun a transaction: see `postgres.stall_limit`.
PIECE = 1000


class _Rivaled(Exception):
    """Another node changed a watch after it was read."""


TakeIds = Callable[[Connection, str, int], int]
Key = tuple[str, str]
Text = dict[str, Any]  # the columns that describe a watch

# By source: SQLite would scan the whole table for each pair of source and id.
_BY_IDS = "SELECT * FROM watches WHERE source = :source AND id IN (:ids...)"
_BY_KEYS = "SELECT * FROM watches WHERE pk IN (:keys...)"
_KEYS = """
SELECT pk FROM watches WHERE pk > :after AND origin = :origin AND removed_at IS NULL ORDER BY pk LIMIT :limit
"""
_DESCRIBE = """
UPDATE watches
SET origin = :origin, labels = :labels, metadata = :metadata, endpoints = :endpoints, callback = :callback,
    variables = :variables, traceparent = :traceparent, updated_at = :updated_at
WHERE pk = :pk
"""
_INSERT = """
INSERT INTO watches (pk, source, id, origin, sequence, stalled, ended, created_at, changed_at, updated_at, labels,
    metadata, endpoints, callback, variables, traceparent)
VALUES (:pk, :source, :id, :origin, 0, false, false, :now, :now, :now, :labels, :metadata, :endpoints, :callback,
    :variables, :traceparent)
"""
_ADD_AGAIN = """
UPDATE watches
SET created_at = :now, changed_at = :now, updated_at = :now, ended = false, stalled = false, state = NULL,
    phase = NULL, last_event_id = NULL, removed_at = NULL, lost = NULL, owner = NULL
WHERE pk = :pk AND removed_at IS NOT NULL
"""
_REMOVE = "UPDATE watches SET removed_at = :now, updated_at = :now, owner = NULL WHERE pk = :pk"


# Claims choose in a CTE: PostgreSQL may evaluate a plain subquery again for each row, and take more than the limit.
def _claim(condition: str = "") -> str:
    return f"""
WITH claimable AS (
    SELECT pk FROM watches WHERE {sql.IS_FOLLOWED} AND owner IS NULL {condition}
    ORDER BY created_at, pk LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE watches SET owner = :me WHERE pk IN (SELECT pk FROM claimable) RETURNING *
"""


CLAIM = _claim()
_CLAIM_OF = _claim("AND source IN (:sources...)")
_RELEASE = "UPDATE watches SET owner = NULL WHERE pk = :pk AND owner = :me"


class Watches:
    """The watches of the store. A method returns after its commit, and raises StoreUnavailable."""

    def __init__(self, writer: Writer, transaction: Transaction) -> None:
        self._writer = writer
        self._node = transaction.node
        self._take_ids = transaction.ids

    async def apply(self, watches: Sequence[NewWatch], *, origin: str, now: Micros, hold: bool = False) -> WatchChanges:
        """Add and describe these watches. With `hold`, wait while the database is away.

        An ended watch stays ended.
        """

        def apply(connection: Connection) -> WatchChanges:
            changes = _apply(connection, self._take_ids, watches, origin, now)
            self._announce(connection, changes.changed)
            if changes.added:
                self._node.tell(connection, watches=True)
            return changes

        for _ in range(MAX_RIVALS):
            try:
                return await self._writer.call(apply, hold=hold)
            except (RowExists, _Rivaled):  # another node has just added one of them too: now it is stored
                continue
        return await self._writer.call(apply, hold=hold)

    async def remove_others(
        self, kept: Container[int], *, origin: str, now: Micros, after: int = BEFORE_ALL, hold: bool = False
    ) -> tuple[Sequence[Watch], int | None]:
        """Remove some watches of an origin whose keys are not among those kept. With `hold`, wait for the database.

        Returns the watches removed, and the key to continue after, None at the end.
        """

        def remove(connection: Connection) -> tuple[Sequence[Watch], int | None]:
            removed, following = _remove_others(connection, kept, origin, now, after)
            self._announce(connection, removed)
            return removed, following

        return await self._writer.call(remove, hold=hold)

    async def remove(self, source: str, task_id: str, *, now: Micros) -> Watch | None:
        """Stop following a watch; its deliveries still go out. None: there is no such watch."""

        def remove(connection: Connection) -> Watch | None:
            row = connection.execute(_BY_IDS, {"source": source, "ids": [task_id]}).first()
            if row is None or row.removed_at is not None:
                return None
            connection.execute(_REMOVE, {"pk": row.pk, "now": now})
            removed = watch_from(row)
            self._announce(connection, [removed])
            return removed

        return await self._writer.call(remove)

    async def claim(self, limit: int, sources: Sequence[str] | None = None) -> list[Watch]:
        """Claim up to `limit` open watches that no node follows, oldest first; of these sources, or of all."""

        def claim(connection: Connection) -> list[Watch]:
            params = {"limit": limit, "me": self._node.number}
            if sources is None:
                rows = connection.execute(CLAIM, params).all()
            else:
                rows = connection.execute(_CLAIM_OF, params | {"sources": list(sources)}).all()
            if rows:
                self._node.holds_more(connection, len(rows))
            return sorted(map(watch_from, rows), key=lambda watch: (watch.created_at, watch.pk))

        return await self._writer.call(claim, left=lambda _: [])

    async def release(self, watches: Sequence[Watch]) -> None:
        """Release watches, for any node to claim. Waits while the database is away."""
        rows = [{"pk": watch.pk, "me": self._node.number} for watch in watches]

        def release(connection: Connection) -> None:
            in_pieces(connection, _RELEASE, rows)
            self._node.holds_more(connection, -len(rows))
            self._node.tell(connection, watches=True)

        if rows:
            await self._writer.call(release, hold=True)

    async def begin(self, *, now: Micros) -> None:
        """Let watches begin now that were created in the future, by a clock that has been set back since."""
        await self._writer.call(partial(redating.watches_begun, now=now))

    def _announce(self, connection: Connection, changed: Sequence[Watch]) -> None:
        """Have the nodes that follow these watches read them again."""
        if changed:
            self._node.tell(connection, changed=named([watch.pk for watch in changed]))


def _apply(
    connection: Connection, take_ids: TakeIds, listed: Sequence[NewWatch], origin: str, now: Micros
) -> WatchChanges:
    """Add and describe these watches.

    Only a file changes or takes over a watch that exists. A watch that was removed begins anew, however it had ended;
    its sequence goes on, since its receivers order events by it.
    """
    asked = {(watch.source, watch.id): watch for watch in listed}
    known, texts = _known(connection, asked)
    fresh = [watch for key, watch in asked.items() if key not in known]
    again = [row for row in known.values() if row.removed_at is not None]
    described = {key: row for key, row in known.items() if origin == "file" or row.removed_at is not None}
    callbacks.keep(connection, [*fresh, *(asked[key] for key in described)], now)
    changed = _describe(connection, texts, described, origin, now)
    _add_again(connection, again, now)
    inserted = _insert(connection, take_ids, fresh, texts, origin, now)
    for row in again:
        changed.pop(row.pk, None)
    return WatchChanges(
        added=(*((watch.source, watch.id) for watch in fresh), *((row.source, row.id) for row in again)),
        changed=tuple(changed.values()),
        unchanged=len(known) - len(again) - len(changed),
        keys=(*inserted, *(row.pk for row in known.values())),
    )


def _known(connection: Connection, asked: Mapping[Key, NewWatch]) -> tuple[dict[Key, Any], dict[Key, Text]]:
    """Return the stored rows, and the columns of all watches.

    The columns are encoded between queries, so that the server never waits long for the next one.
    """
    by_source: dict[str, list[str]] = {}
    for source, task_id in asked:
        by_source.setdefault(source, []).append(task_id)
    stored: dict[Key, Any] = {}
    texts: dict[Key, Text] = {}
    for source, ids in by_source.items():
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            rows = connection.execute(_BY_IDS, {"source": source, "ids": chunk})
            stored |= {(source, row.id): row for row in rows}
            texts |= {(source, task_id): described(asked[source, task_id]) for task_id in chunk}
    return stored, texts


def _insert(
    connection: Connection,
    take_ids: TakeIds,
    fresh: Sequence[NewWatch],
    texts: Mapping[Key, Text],
    origin: str,
    now: Micros,
) -> range:
    """Insert new watches; return their keys."""
    first = take_ids(connection, "watch", len(fresh)) if fresh else 0
    rows = [
        {"pk": first + n, "source": watch.source, "id": watch.id, "origin": origin, "now": now}
        | texts[watch.source, watch.id]
        for n, watch in enumerate(fresh)
    ]
    # All nodes insert in the same order, so that two that add the same watches do not wait for each other.
    in_pieces(connection, _INSERT, sorted(rows, key=itemgetter("source", "id")))
    return range(first, first + len(fresh))


def _describe(
    connection: Connection,
    texts: Mapping[Key, Text],
    known: Mapping[Key, Any],
    origin: str,
    now: Micros,
) -> dict[int, Watch]:
    """Update descriptions and origins; return the watches whose description changed."""
    changed: dict[int, Watch] = {}
    rows = []
    for key, row in known.items():
        text = texts[key]
        differs = description(row) != tuple(text.values())
        if differs or row.origin != origin:
            rows.append({"pk": row.pk, "origin": origin, "updated_at": now} | text)
        if differs:
            changed[row.pk] = watch_from(row, text)
    in_pieces(connection, _DESCRIBE, rows)
    return changed


def _add_again(connection: Connection, again: Sequence[Any], now: Micros) -> None:
    rows = [{"pk": row.pk, "now": now} for row in again]
    if rows and connection.execute(_ADD_AGAIN, rows).count != len(rows):
        raise _Rivaled  # another node added one of them again in the meantime, or forgot it


def _remove_others(
    connection: Connection, kept: Container[int], origin: str, now: Micros, after: int
) -> tuple[Sequence[Watch], int | None]:
    keys = connection.execute(_KEYS, {"origin": origin, "after": after, "limit": PIECE}).scalars()
    gone = [key for key in keys if key not in kept]
    removed: list[Watch] = []
    for start in range(0, len(gone), CHUNK):
        rows = connection.execute(_BY_KEYS, {"keys": gone[start : start + CHUNK]})
        removed.extend(map(watch_from, rows))
    in_pieces(connection, _REMOVE, [{"pk": watch.pk, "now": now} for watch in removed])
    return removed, keys[-1] if len(keys) == PIECE else None


def in_pieces(connection: Connection, statement: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Run a statement once for each row. SQLite, which is no server, takes them all at once."""
    size = PIECE if connection.shared else max(len(rows), 1)
    for start in range(0, len(rows), size):
        connection.execute(statement, rows[start : start + size])
