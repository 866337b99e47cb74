"""The nodes that share a PostgreSQL: signs of life, the other nodes, those that died, leaders of endpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from notifier.core.endpoint import LeaderRequest
from notifier.core.model import Json, Watch
from notifier.core.share import Peer
from notifier.store import endpoints
from notifier.store import statements as sql
from notifier.store.connection import Connection
from notifier.store.node import ALIVE, NOW, Node, leave, tell, unlead
from notifier.store.rows import watch_from
from notifier.store.values import Leadership, NodeList
from notifier.store.writer import Writer

COUNTED = 100_000  # unclaimed watches that are counted at most: more would not change a node's share

_STATUS = "UPDATE nodes SET held = coalesce(:held, held), status = :status WHERE number = :me"
_PEERS = """
SELECT number, name, version, started_at, seen_at, timeout, held, leaving, status FROM nodes ORDER BY number
"""
_FREE = f"SELECT source FROM watches WHERE {sql.IS_FOLLOWED} AND owner IS NULL"
_COUNT_FREE = f"SELECT source, count(*) FROM ({_FREE} LIMIT {COUNTED}) AS free GROUP BY source"
_COUNT_FREE_OF = f"""
SELECT source, count(*) FROM ({_FREE} AND source IN (:sources...) LIMIT {COUNTED}) AS free GROUP BY source
"""
_NOW = f"SELECT {NOW}"
# That node writes, or another node buries it, where the row is locked.
_DEAD = f"SELECT number FROM nodes WHERE number = :node AND NOT ({ALIVE}) FOR UPDATE SKIP LOCKED"
_RETIRE = "UPDATE nodes SET leaving = true, held = 0 WHERE number = :me"
_RELEASE = f"UPDATE watches SET owner = NULL WHERE {sql.IS_FOLLOWED} AND owner = :me"
_MINE = f"SELECT pk FROM watches WHERE {sql.IS_FOLLOWED} AND owner = :me"
_LOOK = f"SELECT * FROM watches WHERE pk IN (:pks...) AND {sql.IS_FOLLOWED} AND owner = :me"


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
        count, of = (_COUNT_FREE, {}) if sources is None else (_COUNT_FREE_OF, {"sources": list(sources)})

        def beat(connection: Connection) -> NodeList:
            me = self._node.number
            # Plans are dropped now and then: the best plan for a table of three rows is not the best for a million.
            connection.execute("DISCARD PLANS")
            connection.execute(_STATUS, {"me": me, "held": held, "status": json.dumps(status)})
            return NodeList(
                number=me,
                peers=tuple(Peer(**row._asdict()) for row in connection.execute(_PEERS)),
                free=dict(connection.execute(count, of).all()),
                now=connection.execute(_NOW).scalars()[0],
            )

        return await self._writer.call(beat)

    async def bury(self, peer: Peer) -> bool:
        """Free everything that a dead node owned, if it is still dead; return whether this node did it."""

        def bury(connection: Connection) -> bool:
            dead = connection.execute(_DEAD, {"node": peer.number}).first() is not None
            return dead and leave(connection, peer.number)

        return await self._writer.call(bury)

    async def release_all(self) -> None:
        """Release every watch that this node follows and every endpoint that it leads, and claim no more."""

        def release(connection: Connection) -> None:
            connection.execute(_RETIRE, {"me": self._node.number})
            connection.execute(_RELEASE, {"me": self._node.number})
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
            lambda connection: set(connection.execute(_MINE, {"me": self._node.number}).scalars())
        )

    async def look(self, pks: Sequence[int]) -> list[Watch]:
        """Return those of these watches that this node follows, as they are stored now."""
        return await self._writer.call(
            lambda connection: [
                watch_from(row) for row in connection.execute(_LOOK, {"pks": list(pks), "me": self._node.number})
            ]
        )
