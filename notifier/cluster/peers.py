"""The nodes that share the store: this one as it is now, the others as of their last heartbeat, about a second ago.

Everything is read from the last heartbeat's answer. So a query costs the store nothing, and is answered without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from notifier import __version__
from notifier.cluster.this_node import ThisNode
from notifier.core import share
from notifier.core.model import Json, Micros
from notifier.core.payload import timestamp
from notifier.core.share import Peer
from notifier.store import NodeList

STATES = ("alive", "leaving", "dead")
STATUS_KEYS = (  # null where a node's status lacks one: it has just begun, or has another version
    "host",
    "pid",
    "http",
    "ready",
    "reason",
    "streams",
    "deliveries",
    "events_per_second",
    "deliveries_per_second",
)


class Peers:
    """The answer to the last heartbeat. The membership updates it, and reports read it."""

    def __init__(self, latest: NodeList | None = None) -> None:
        self._latest = latest

    @property
    def latest(self) -> NodeList | None:
        """Return the answer; None before the first heartbeat, and where no other node can share the store."""
        return self._latest

    def update(self, nodes: NodeList) -> None:
        """Take the answer to a heartbeat."""
        self._latest = nodes


class NodeReport:
    """Describes the nodes that share the store."""

    def __init__(self, this: ThisNode, *, clock: Callable[[], Micros], peers: Peers) -> None:
        self._this = this
        self._clock = clock
        self._peers = peers

    def items(self) -> list[Json]:
        """List the nodes, this one among them, by their numbers."""
        return [_item(status, fields) for fields, status in self._all()]

    def name(self, number: int) -> str:
        """Return the node's name, or its number until its first heartbeat is seen."""
        if number == self._this.number:
            return self._this.name
        latest = self._peers.latest
        names = [peer.name for peer in latest.peers if peer.number == number] if latest is not None else []
        return names[0] if names else f"number {number}"

    def statuses(self) -> list[Mapping[str, Any]]:
        """Return the statuses of the living nodes."""
        return [status for fields, status in self._all() if fields["alive"] is not False]

    def states(self) -> dict[str, int]:
        """Count the nodes by state."""
        counted = Counter(_state(fields) for fields, _ in self._all())
        return {state: counted[state] for state in STATES}

    def _all(self) -> list[tuple[Json, Mapping[str, Any]]]:
        latest, number = self._peers.latest, self._this.number
        others = [peer for peer in latest.peers if peer.number not in (latest.number, number)] if latest else []
        mine = next((peer for peer in latest.peers if peer.number == number), None) if latest else None
        nodes = [(self._other(peer), {**peer.told, "watches": peer.held}) for peer in others]
        nodes.append((self._own(number, mine), self._this.status()))
        return sorted(nodes, key=lambda each: int(each[0]["number"]))

    def _own(self, number: int, mine: Peer | None) -> Json:
        return {
            "number": number,
            "name": self._this.name,
            "version": __version__,
            # By the clock of the store, which was not known yet when this process began.
            "started_at": timestamp(mine.started_at if mine is not None else self._this.started_at),
            "seen_at": timestamp(self._clock()),
            "timeout_seconds": self._this.timeout,
            "alive": True,
            "leaving": mine is not None and mine.leaving,
            "this": True,
        }

    def _other(self, peer: Peer) -> Json:
        return {
            "number": peer.number,
            "name": peer.name,
            "version": peer.version,
            "started_at": timestamp(peer.started_at),
            "seen_at": timestamp(peer.seen_at),
            "timeout_seconds": peer.timeout / 1e6,
            "alive": self._lives(peer),
            "leaving": peer.leaving,
            "this": False,
        }

    def _lives(self, peer: Peer) -> bool | None:
        """Return whether a node is alive; None if this node was away itself and cannot know."""
        latest = self._peers.latest
        if latest is None or self._clock() - latest.now > self._this.timeout * 1e6:
            return None
        return share.alive(peer, latest.now)


def _item(status: Mapping[str, Any], fields: Json) -> Json:
    return fields | {"watches": status["watches"]} | {key: status.get(key) for key in STATUS_KEYS}


def _state(fields: Json) -> str:
    if fields["alive"] is False:
        return "dead"
    return "leaving" if fields["leaving"] else "alive"
