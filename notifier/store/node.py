"""The node that a transaction belongs to, and whether it may still write.

SQLite has one daemon, which holds the lock file: `Solo`. On PostgreSQL several daemons share the work, and each is a
`Member`. Every transaction of a member begins by updating the node's own row (see `schema.nodes`). This one statement
does three things. It is a fence: a node that declares another dead deletes that row first. It is a sign of life. And it
stores the transaction's number, which shows later whether a COMMIT without an answer succeeded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from notifier import __version__
from notifier.core.errors import NodeLost
from notifier.store import callbacks
from notifier.store import statements as sql
from notifier.store.connection import Connection
from notifier.store.hot import FENCE, LOCK_WATCHES, Batch
from notifier.store.keys import SHIFT

CHANNEL = "notifier"  # of NOTIFY; each message is a JSON object
MAX_NAMED = 500  # watches in one message, which PostgreSQL limits to 8,000 bytes

NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
ALIVE = f"abs(seen_at - {NOW}) <= timeout"  # as core/share.py has it

_JOIN = f"""
INSERT INTO nodes (number, name, version, started_at, seen_at, timeout, groups, held, leaving, status)
VALUES (:number, :name, :version, {NOW}, {NOW}, :timeout, 0, 0, false, '{{}}')
"""
_LANDED = f"UPDATE nodes SET seen_at = {NOW} WHERE number = :me RETURNING groups"
_HELD = "UPDATE nodes SET held = greatest(held + :more, 0) WHERE number = :me"
_TELL = "SELECT pg_notify(:channel, :said)"
_EPOCH = "SELECT value FROM counters WHERE name = 'event' FOR UPDATE"
_SET_EPOCH = "UPDATE counters SET value = :epoch WHERE name = 'event'"
# The second is greater than the number of every transaction that a statement sees. Its own number may be smaller.
_NUMBERS = """
SELECT (SELECT max(pk) FROM events) AS last, pg_current_xact_id()::text::bigint AS running,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next
"""

_LEAVE = "DELETE FROM nodes WHERE number = :node"
_FREE_WATCHES = f"UPDATE watches SET owner = NULL WHERE {sql.IS_FOLLOWED} AND owner = :node"
_FREE_DELIVERIES = f"UPDATE deliveries SET owner = NULL WHERE {sql.IS_OPEN} AND owner = :node"
_UNLEAD = "UPDATE endpoints SET leader = NULL WHERE leader = :node"


class Solo:
    """The only daemon of its database."""

    epoch = 0  # of the keys of events
    doubtful = False  # a COMMIT that failed may have succeeded all the same

    def __init__(self, number: int = 0) -> None:
        self.number = number  # of this run; no other ever has it

    def join(self, connection: Connection) -> Callable[[], None]:
        """Number this run, and free the rows that an earlier run owned. Call the returned function after the commit."""
        number = _next_number(connection)
        connection.execute(sql.FREE_WATCHES)
        connection.execute(sql.FREE_DELIVERIES)
        connection.execute(callbacks.FREE)

        def joined() -> None:
            self.number = number

        return joined

    def begin(self, batch: Batch) -> Callable[[], None]:  # noqa: ARG002  # as `Member` needs it
        """Send nothing: the lock file is the fence. The returned call does nothing."""
        return _no_fence

    def keep_order(self, batch: Batch, pks: Iterable[int]) -> None:
        """Do nothing: no other node writes."""

    def first_event(self, connection: Connection, take: Callable[[Connection, str, int], int], count: int) -> int:
        """Return the first of `count` consecutive numbers of events, from the counter."""
        return take(connection, "event", count)

    def landed(self, connection: Connection) -> bool:  # noqa: ARG002  # the same
        """Return False: a COMMIT that failed has changed nothing."""
        return False

    def holds_more(self, connection: Connection, count: int) -> None:
        """Do nothing: no other node adds the numbers up."""

    def tell(self, connection: Connection, **said: Any) -> None:
        """Do nothing: no other node listens."""


class Member:
    """One of the daemons of a PostgreSQL."""

    doubtful = True

    def __init__(self, name: str, timeout: float) -> None:
        self.name = name
        self.timeout = timeout  # seconds
        self.number = 0  # not joined yet; it changes when the node was lost and joined anew
        self.epoch = 0  # of the keys of events
        self._group = 0
        self._event = 0

    def join(self, connection: Connection) -> Callable[[], None]:
        """Join as a new node that owns nothing. Call the returned function after the commit.

        The number is used only then: after a rollback the next node would get the same.
        """
        number = _next_number(connection)
        node = {"number": number, "name": self.name, "version": __version__, "timeout": round(self.timeout * 1e6)}
        connection.execute(_JOIN, node)
        epoch = _epoch(connection)

        def joined() -> None:
            self.number, self.epoch, self._group = number, epoch, 0

        return joined

    def begin(self, batch: Batch) -> Callable[[], None]:
        """Update this node's row, and so lock it until the transaction ends.

        The returned call raises NodeLost if the node was declared dead.
        """
        self._group += 1
        self._event = 0
        updated = batch.run(FENCE, [{"_me": self.number, "_group": self._group}])

        def check() -> None:
            if not updated.count:
                raise NodeLost

        return check

    def keep_order(self, batch: Batch, pks: Iterable[int]) -> None:
        """Lock these watches until the transaction ends, so that no other node changes their deliveries.

        Only under this lock a delivery starts to wait for another, or stops waiting. All nodes lock in the same order,
        and before any other lock, so that no two wait for each other.
        """
        ordered = sorted(set(pks))
        if ordered:
            batch.run(LOCK_WATCHES, [{"_pk": pk} for pk in ordered])

    def first_event(self, connection: Connection, take: Callable[[Connection, str, int], int], count: int) -> int:  # noqa: ARG002  # as `Solo` needs it
        """Return the first of `count` consecutive numbers of events: their place in the transaction (see `keys`)."""
        first, self._event = self._event, self._event + count
        return first

    def landed(self, connection: Connection) -> bool:
        """Return whether the last transaction was committed, after its COMMIT was not answered.

        The node's row has its number then. The statement is an update: it waits for a server that still works on that
        COMMIT, and is a sign of life.
        """
        return connection.execute(_LANDED, {"me": self.number}).scalar() == self._group

    def holds_more(self, connection: Connection, count: int) -> None:
        """Count claimed and released watches in the node's row: other nodes add them to the free ones."""
        connection.execute(_HELD, {"me": self.number, "more": count})

    def tell(self, connection: Connection, **said: Any) -> None:
        """Tell the other nodes of something, once the transaction is committed."""
        tell(connection, self.number, **said)


Node = Solo | Member  # that a transaction belongs to


def tell(connection: Connection, number: int, **said: Any) -> None:
    """Send a message to every node, with the number of the sender."""
    connection.execute(_TELL, {"channel": CHANNEL, "said": json.dumps({"from": number} | said)})


def named(pks: Sequence[int]) -> list[int] | None:
    """Return the watches to name in a message; None: there are too many, and each node looks at all of its own."""
    return list(pks) if len(pks) <= MAX_NAMED else None


def leave(connection: Connection, number: int) -> bool:
    """Free the rows that a node owned, and delete it; False: another node has done so."""
    if not connection.execute(_LEAVE, {"node": number}).count:
        return False
    free(connection, number)
    return True


def free(connection: Connection, number: int) -> None:
    """Free the rows that a node owned, and the endpoints that it led."""
    connection.execute(_FREE_WATCHES, {"node": number})
    connection.execute(callbacks.FREE_OF, {"node": number})
    connection.execute(_FREE_DELIVERIES, {"node": number})
    unlead(connection, number)
    tell(connection, number, watches=True, deliveries=True, endpoints=True)


def unlead(connection: Connection, number: int) -> None:
    """Free the endpoints that a node led."""
    connection.execute(_UNLEAD, {"node": number})


def _next_number(connection: Connection) -> int:
    return int(connection.execute(sql.TAKE_IDS, {"counter": "node", "count": 1}).scalars()[0])


def _epoch(connection: Connection) -> int:
    """Return the epoch of events' keys; begin a new one if transactions have lower numbers than the events.

    They have after a dump was restored into another server. Every node that writes has joined after that.
    """
    epoch = int(connection.execute(_EPOCH).scalars()[0])
    [(last, running, next_)] = connection.execute(_NUMBERS)
    if last is not None and last >> SHIFT >= next_ + epoch:
        epoch = (last >> SHIFT) - running + 1
        connection.execute(_SET_EPOCH, {"epoch": epoch})
    return epoch


def _no_fence() -> None:
    """Do nothing: SQLite has no fence."""
