"""The health of endpoints, destinations of callbacks, and the leader of each endpoint that one node alone may serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

from notifier.core import endpoint as core
from notifier.core.endpoint import LeaderRequest
from notifier.core.model import Delivery, EndpointState, Micros, Record
from notifier.core.text import storable
from notifier.store import callbacks
from notifier.store.connection import Connection
from notifier.store.node import ALIVE
from notifier.store.reader import Reader
from notifier.store.transaction import Transaction
from notifier.store.values import CallbackClaim, CallbackHealth, ChangedEndpoint, EndpointChange
from notifier.store.writer import Writer

_COLUMNS = tuple(field.name for field in fields(EndpointState))
_STATES = f"SELECT {', '.join(_COLUMNS)} FROM endpoints ORDER BY name"  # a newer schema may have more
_ADD = f"""
INSERT INTO endpoints ({", ".join(_COLUMNS)}) VALUES ({", ".join(f":{name}" for name in _COLUMNS)})
ON CONFLICT DO NOTHING
"""
_KEPT = f"SELECT {', '.join(_COLUMNS)} FROM endpoints WHERE name = :name FOR UPDATE"
_SAVE = f"""
UPDATE endpoints SET {", ".join(f"{name} = :{name}" for name in _COLUMNS if name not in ("name", "leader"))}
WHERE name = :name
"""
_LEAD = "UPDATE endpoints SET leader = :after WHERE name = :name AND leader IS NOT DISTINCT FROM :before::bigint"
_NODES = f"SELECT number, NOT leaving AND {ALIVE} AS fit FROM nodes ORDER BY number"


class Endpoints:
    """The health of endpoints, and the destinations of callbacks."""

    def __init__(self, writer: Writer, reader: Reader, transaction: Transaction) -> None:
        self._writer = writer
        self._reader = reader
        self._transaction = transaction
        self._node = transaction.node

    async def states(self) -> list[EndpointState]:
        """Return the stored health of every endpoint. Raises StoreUnavailable."""
        return await self._reader.page(states)

    async def change(self, change: EndpointChange, records: Sequence[Record] = ()) -> ChangedEndpoint:
        """Change an endpoint's stored health, and save operators' events with it, in one transaction.

        Waits while the database is away, if the change says so. Raises StoreUnavailable.
        """

        def save(connection: Connection) -> ChangedEndpoint:
            before, after, done = _change(connection, change)
            deliveries: list[Delivery] = []
            if done:
                deliveries = self._transaction.append(connection, records)
                self._node.tell(connection, endpoints=True)
            return ChangedEndpoint(before=before, after=after, done=done, deliveries=tuple(deliveries))

        return await self._writer.call(save, hold=change.hold, left=lambda changed: replace(changed, deliveries=()))

    async def take_callbacks(self, limit: int, *, now: Micros) -> CallbackClaim:
        """Claim up to `limit` destinations of callbacks with deliveries that are due, those that waited longest first.

        Waits while the database is away.
        """

        def take(connection: Connection) -> CallbackClaim:
            # Read in the transaction: a node that was declared dead meanwhile has another number.
            return callbacks.take(connection, self._node.number, limit, now)

        return await self._writer.call(take, hold=True, left=lambda _: CallbackClaim())

    async def leave_callbacks(self, left: Mapping[str, CallbackHealth], *, now: Micros) -> None:
        """Release destinations of callbacks, by name: they are found again once due and not held.

        Waits while the database is away.
        """

        def leave(connection: Connection) -> None:
            callbacks.leave(connection, self._node.number, left, now)

        await self._writer.call(leave, hold=True)


def states(connection: Connection) -> list[EndpointState]:
    """Return the stored health of every endpoint."""
    return [EndpointState(**row._asdict()) for row in connection.execute(_STATES)]


def _change(connection: Connection, asked: EndpointChange) -> tuple[EndpointState, EndpointState, bool]:
    """Change the stored health of an endpoint; return it before and after, and whether it changed.

    Health that was stored under another URL counts as unknown.
    """
    _add(connection, asked.name, asked.fingerprint)
    [row] = connection.execute(_KEPT, {"name": asked.name})
    before = EndpointState(**row._asdict())
    if before.fingerprint != asked.fingerprint:
        before = core.unknown(before, asked.fingerprint)
    updated = asked.update(before)
    if updated is None:
        return before, before, False
    after = replace(updated, version=before.version + 1, reason=storable(updated.reason))
    connection.execute(_SAVE, {name: getattr(after, name) for name in _COLUMNS})
    return before, after, True


def lead(connection: Connection, wants: Mapping[str, LeaderRequest], me: int) -> bool:
    """Take endpoints that nobody leads, and give up those that others should lead; return whether a leader changed."""
    # First the leaders, then the nodes: a leader has joined before it leads, so that no living node is missed.
    known = states(connection)
    rows = connection.execute(_NODES).all()
    for name in sorted({name for name, want in wants.items() if want.limited} - {state.name for state in known}):
        _add(connection, name, wants[name].fingerprint)
        known.append(EndpointState(name=name, fingerprint=wants[name].fingerprint))
    changes = core.leads(known, wants, me, {row.number for row in rows}, {row.number for row in rows if row.fit})
    before = {state.name: state.leader for state in known}
    changed = 0
    for name in sorted(changes):  # in the same order on all nodes, so that no two wait for each other
        given = {"name": name, "before": before[name], "after": changes[name]}
        changed += connection.execute(_LEAD, given).count
    return changed > 0


def _add(connection: Connection, name: str, fingerprint: str) -> None:
    blank = EndpointState(name=name, fingerprint=fingerprint)
    connection.execute(_ADD, {column: getattr(blank, column) for column in _COLUMNS})
