"""The nodes that share a PostgreSQL: signs of life, the other nodes, those that died, leaders of endpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import BigInteger, Connection, bindparam, func, select, update

from notifier.core.endpoint import LeaderRequest
from notifier.core.model import Json, Watch
from notifier.core.share import Peer
from notifier.store import endpoints
from notifier.store import statements as sql
from notifier.store.node import ALIVE, NOW, Node, leave, tell, unlead
from notifier.store.rows import watch_from
from notifier.store.schema import nodes, watches
from notifier.store.values import Leadership, NodeList
from notifier.store.writer import Writer

COUNTED = 100_000  # unclaimed watches that are counted at most: more would not change a node's share

_STATUS = (
    update(nodes)
    .where(nodes.c.number == bindparam("_me", type_=BigInteger))
    .values(held=func.coalesce(bindparam("_held", type_=BigInteger), nodes.c.held), status=bindparam("_status"))
)
_PEERS = select(
    nodes.c.number,
    nodes.c.name,
    nodes.c.version,
    nodes.c.started_at,
    nodes.c.seen_at,
    nodes.c.timeout,
    nodes.c.held,
    nodes.c.leaving,
    nodes.c.status,
).order_by(nodes.c.number)
_FREE = select(watches.c.pk).where(sql.IS_FOLLOWED, watches.c.owner.is_(None)).limit(COUNTED)
_MINE = select(watches.c.pk).where(sql.IS_FOLLOWED, watches.c.owner == bindparam("_me", type_=BigInteger))
_NOW = select(NOW)


class Nodes:
    """The nodes that share a store. Each method returns after its commit, and raises StoreUnavailable."""

    def __init__(self, writer: Writer, node: Node) -> None:
        self._node = node
        self._writer = writer

    @property
    def number(self) -> int:
        """Return the number of this node. It changes when the node was declared dead and joins anew."""
        return self._node.number

    async def beat(self, *, held: int | None, status: Json, sources: Sequence[str] | None = None) -> NodeList:
        """Give a sign of life with the number of watches that this node follows; list the nodes, count free watches.

        `sources` are those that this node can follow watches of; None: all. `held` is None while a claim or a release
        is under way: each of them counts its watches itself.
        """
        # Watches of a source that no node has are not counted.
        free = _FREE if sources is None else _FREE.where(watches.c.source.in_(sources))

        def beat(connection: Connection) -> NodeList:
            me = self._node.number
            # Plans are dropped now and then: the best plan for a table of three rows is not the best for a million.
            connection.exec_driver_sql("DISCARD PLANS")
            connection.execute(_STATUS, {"_me": me, "_held": held, "_status": json.dumps(status)})
            return NodeList(
                number=me,
                peers=tuple(Peer(**row._mapping) for row in connection.execute(_PEERS)),
                unclaimed=connection.execute(select(func.count()).select_from(free.subquery())).scalar_one(),
                now=connection.execute(_NOW).scalar_one(),
            )

        return await self._writer.call(beat)

    async def bury(self, peer: Peer) -> bool:
        """Free everything that a dead node owned, if it is still dead; return whether this node did it."""

        def bury(connection: Connection) -> bool:
            still = (
                select(nodes.c.number)
                .where(nodes.c.number == peer.number, ~ALIVE)
                .with_for_update(skip_locked=True)  # that node writes, or another node buries it
            )
            return connection.execute(still).first() is not None and leave(connection, peer.number)

        return await self._writer.call(bury)

    async def release_all(self) -> None:
        """Release every watch that this node follows and every endpoint that it leads, and claim no more."""

        def release(connection: Connection) -> None:
            connection.execute(update(nodes).where(nodes.c.number == self._node.number).values(leaving=True, held=0))
            mine = watches.c.owner == self._node.number
            connection.execute(update(watches).where(sql.IS_FOLLOWED, mine).values(owner=None))
            unlead(connection, self._node.number)
            tell(connection, self._node.number, watches=True, endpoints=True)

        await self._writer.call(release)

    async def lead(self, wants: Mapping[str, LeaderRequest]) -> Leadership:
        """Take endpoints that nobody leads, give up those that others should lead, and return the state of all."""

        def lead(connection: Connection) -> Leadership:
            me = self._node.number
            if endpoints.lead(connection, wants, me):
                tell(connection, me, endpoints=True)
            return Leadership(number=me, states=tuple(endpoints.states(connection)))

        return await self._writer.call(lead)

    async def mine(self) -> set[int]:
        """Return the `pk` of every watch that this node follows, by the database."""
        return await self._writer.call(
            lambda connection: set(connection.execute(_MINE, {"_me": self._node.number}).scalars())
        )

    async def look(self, pks: Sequence[int]) -> list[Watch]:
        """Return those of these watches that this node follows, as they are stored now."""
        query = select(watches).where(
            watches.c.pk.in_(pks), sql.IS_FOLLOWED, watches.c.owner == bindparam("_me", type_=BigInteger)
        )
        return await self._writer.call(
            lambda connection: [watch_from(row) for row in connection.execute(query, {"_me": self._node.number})]
        )
