"""Which daemon a transaction is of, and whether it may still write.

On SQLite there is one daemon, and a lock file sees to it: `Solo`. On PostgreSQL several share the work: `Member`, whose
every transaction begins by updating the node's own row (see `schema.nodes`). That one statement is the fence, since
whoever declares the node dead takes the row away first; it is a sign of life; and it leaves the transaction's number,
by which one whose COMMIT was never answered is found to have come true or not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from sqlalchemy import ARRAY, BigInteger, Connection, bindparam, delete, func, insert, literal_column, select, update
from sqlalchemy import null as sql_null

from notifier import __version__
from notifier.core.errors import NodeLost
from notifier.store import callbacks
from notifier.store import statements as sql
from notifier.store.keys import SHIFT
from notifier.store.prepared import Prepared
from notifier.store.schema import counters, deliveries, endpoints, events, nodes, watches

CHANNEL = "notifier"  # of NOTIFY; what is said there is a JSON object, see `Said`
MAX_TOLD = 500  # watches named in one message: PostgreSQL takes 8,000 bytes

NOW = literal_column("(extract(epoch FROM clock_timestamp()) * 1000000)::bigint", BigInteger)
ALIVE = func.abs(nodes.c.seen_at - NOW) <= nodes.c.timeout  # as core/share.py has it

_FENCE = Prepared(
    update(nodes)
    .where(nodes.c.number == bindparam("_me", type_=BigInteger))
    .values(groups=bindparam("_group", type_=BigInteger), seen_at=NOW)
)
_LANDED = (
    update(nodes)
    .where(nodes.c.number == bindparam("_me", type_=BigInteger))
    .values(seen_at=NOW)
    .returning(nodes.c.groups)
)
_HELD = (
    update(nodes)
    .where(nodes.c.number == bindparam("_me", type_=BigInteger))
    .values(held=func.greatest(nodes.c.held + bindparam("_more", type_=BigInteger), 0))
)
_LOCK_WATCHES = Prepared(
    select(watches.c.pk)
    .where(watches.c.pk == func.any(bindparam("_pks", type_=ARRAY(BigInteger))))
    .order_by(watches.c.pk)
    .with_for_update(key_share=True)
)
_EPOCH = select(counters.c.value).where(counters.c.name == "event")
_RUNNING = literal_column("pg_current_xact_id()::text::bigint", BigInteger)
# Above the number of whatever a statement sees; the number of its own transaction may be below that.
_NEXT = literal_column("pg_snapshot_xmax(pg_current_snapshot())::text::bigint", BigInteger)


class Node(Protocol):
    """The daemon that a transaction is of."""

    doubtful: bool  # a COMMIT that failed may have come true all the same
    number: int  # never used by another; changes when the node was lost and came back
    epoch: int  # of the keys of events

    def begin(self, connection: Connection) -> Callable[[], None]:
        """Queue what a transaction begins with; the call that is returned raises NodeLost if the node is no more."""
        ...

    def keep_order(self, connection: Connection, pks: Iterable[int]) -> None:
        """Let no other node change what waits of these watches until the transaction ends."""
        ...

    def first_event(self, connection: Connection, take: Callable[[Connection, str, int], int], count: int) -> int:
        """Return the number of the first of so many events in a row."""
        ...

    def landed(self, connection: Connection) -> bool:
        """Say whether the last transaction was committed, though the answer to its COMMIT was not heard."""
        ...

    def holds_more(self, connection: Connection, count: int) -> None:
        """Count watches that were claimed, or released if it is negative."""
        ...

    def join(self, connection: Connection) -> Callable[[], None]:
        """Begin as a new node, that owns nothing; the call that is returned makes it so, once that is committed."""
        ...

    def tell(self, connection: Connection, **said: Any) -> None:
        """Tell the other nodes of something, once the transaction is committed."""
        ...


class Solo:
    """The only daemon of its database."""

    epoch = 0
    doubtful = False

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def join(self, connection: Connection) -> Callable[[], None]:
        """Number this run, and free what an earlier one had claimed: there is no other."""
        number = int(connection.execute(sql.TAKE_IDS, {"counter": "node", "count": 1}).scalar_one())
        connection.execute(sql.FREE_WATCHES)
        connection.execute(sql.FREE_DELIVERIES)
        connection.execute(callbacks.FREE)

        def joined() -> None:
            self.number = number

        return joined

    def begin(self, connection: Connection) -> Callable[[], None]:  # noqa: ARG002  # as `Member` needs it
        """Begin with nothing."""
        return _well

    def keep_order(self, connection: Connection, pks: Iterable[int]) -> None:
        """Nobody else writes."""

    def first_event(self, connection: Connection, take: Callable[[Connection, str, int], int], count: int) -> int:
        """Take the next of the counter."""
        return take(connection, "event", count)

    def landed(self, connection: Connection) -> bool:  # noqa: ARG002  # the same
        """A COMMIT that failed is a transaction that was not."""
        return False

    def holds_more(self, connection: Connection, count: int) -> None:
        """Nobody else asks how many there are."""

    def tell(self, connection: Connection, **said: Any) -> None:
        """Nobody else listens."""


class Member:
    """One of the daemons of a PostgreSQL."""

    doubtful = True

    def __init__(self, name: str, timeout: float) -> None:
        self.name = name
        self.timeout = timeout  # seconds
        self.number = 0  # not joined yet
        self.epoch = 0
        self._group = 0
        self._event = 0

    def join(self, connection: Connection) -> Callable[[], None]:
        """Begin as a new node, that owns nothing.

        Its number is not used before it is committed: taken back, it would be the next node's as well.
        """
        number = connection.execute(sql.TAKE_IDS, {"counter": "node", "count": 1}).scalar_one()
        connection.execute(
            insert(nodes).values(
                number=number,
                name=self.name,
                version=__version__,
                started_at=NOW,
                seen_at=NOW,
                timeout=round(self.timeout * 1e6),
                groups=0,
                held=0,
                leaving=False,
                status=json.dumps({}),
            )
        )
        epoch = _epoch(connection)

        def joined() -> None:
            self.number, self.epoch, self._group = int(number), epoch, 0

        return joined

    def begin(self, connection: Connection) -> Callable[[], None]:
        """Update the row of this node, which holds it until the transaction ends."""
        self._group += 1
        self._event = 0
        found = _FENCE.one(connection, {"_me": self.number, "_group": self._group})

        def check() -> None:
            if not found.count:
                raise NodeLost

        return check

    def keep_order(self, connection: Connection, pks: Iterable[int]) -> None:
        """Lock the watches: whether a delivery has to wait for another is decided and undone under that lock alone.

        Always in the same order, and before anything else is locked, so that no two nodes wait for each other.
        """
        wanted = sorted(set(pks))
        if wanted:
            _LOCK_WATCHES.one(connection, {"_pks": wanted})

    def first_event(self, connection: Connection, take: Callable[[Connection, str, int], int], count: int) -> int:  # noqa: ARG002  # as `Solo` needs it
        """Number events by their place in the transaction."""
        first, self._event = self._event, self._event + count
        return first

    def landed(self, connection: Connection) -> bool:
        """Look for the number that the transaction would have left.

        By an update: that waits for a server that is still at work on that COMMIT, and is a sign of life.
        """
        return connection.execute(_LANDED, {"_me": self.number}).scalar_one_or_none() == self._group

    def holds_more(self, connection: Connection, count: int) -> None:
        """Count watches that were claimed or released where they are: others add them up with those that are free."""
        connection.execute(_HELD, {"_me": self.number, "_more": count})

    def tell(self, connection: Connection, **said: Any) -> None:
        """Tell the other nodes of something, once the transaction is committed."""
        tell(connection, self.number, **said)


def tell(connection: Connection, number: int, **said: Any) -> None:
    """Send a message to every node, with the number of the one that sends it."""
    connection.execute(select(func.pg_notify(CHANNEL, json.dumps({"from": number} | said))))


def named(pks: Sequence[int]) -> list[int] | None:
    """Return the watches to be named in a message; None: too many, let everyone look at all of theirs."""
    return list(pks) if len(pks) <= MAX_TOLD else None


def leave(connection: Connection, number: int) -> bool:
    """Free what a node owned and forget it; False: somebody else did."""
    if not connection.execute(delete(nodes).where(nodes.c.number == number)).rowcount:
        return False
    free(connection, number)
    return True


def free(connection: Connection, number: int) -> None:
    """Free what a node owned, and led."""
    connection.execute(update(watches).where(sql.IS_FOLLOWED, watches.c.owner == number).values(owner=sql_null()))
    connection.execute(callbacks.FREE_OF, {"_node": number})
    connection.execute(
        update(deliveries).where(sql.is_open(deliveries), deliveries.c.owner == number).values(owner=sql_null())
    )
    unlead(connection, number)
    tell(connection, number, watches=True, deliveries=True, endpoints=True)


def unlead(connection: Connection, number: int) -> None:
    """Let others serve the endpoints that a node led."""
    connection.execute(update(endpoints).where(endpoints.c.leader == number).values(leader=sql_null()))


def _epoch(connection: Connection) -> int:
    """Return the epoch of events' keys; begin another if transactions are numbered lower than those of the events.

    That is so after a dump was restored into another server. Every node that writes joined after that.
    """
    epoch: int = connection.execute(_EPOCH.with_for_update()).scalar_one()
    last, running, next_ = connection.execute(select(func.max(events.c.pk), _RUNNING, _NEXT)).one()
    if last is not None and last >> SHIFT >= next_ + epoch:
        epoch = (last >> SHIFT) - running + 1
        connection.execute(update(counters).where(counters.c.name == "event").values(value=epoch))
    return epoch


def _well() -> None:
    """Have nothing against it."""
