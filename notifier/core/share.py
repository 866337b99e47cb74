"""Computes the share of watches of each node, and which nodes are dead. Pure; times are the database's.

Each node computes this for itself from the same table, at most a second old. So two nodes may briefly disagree. A node
claims watches up to its share, and releases those beyond it gradually. A watch may briefly belong to no node, but never
to two.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from notifier.core.model import Micros

SLACK = 0.02  # part of a share: for a smaller excess no stream is closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A node, as of its last heartbeat."""

    number: int
    name: str
    version: str
    started_at: Micros
    seen_at: Micros
    timeout: Micros  # without a heartbeat, after which it counts as dead
    held: int  # watches that it follows
    leaving: bool  # it claims no more watches
    status: str  # JSON object

    @property
    def told(self) -> Mapping[str, Any]:
        """Return its status; of one that cannot be read, nothing."""
        try:
            status = json.loads(self.status)
        except ValueError:
            return {}
        return status if isinstance(status, dict) else {}


def alive(peer: Peer, now: Micros) -> bool:
    """Return whether a node has given a heartbeat lately; one of the far future is older than a clock set back."""
    return abs(now - peer.seen_at) <= peer.timeout


def takers(peers: Sequence[Peer], now: Micros) -> list[Peer]:
    """Return the living nodes that claim watches."""
    return [peer for peer in peers if alive(peer, now) and not peer.leaving]


def dead(peers: Sequence[Peer], now: Micros) -> list[Peer]:
    """Return the nodes that have given no heartbeat for too long."""
    return [peer for peer in peers if not alive(peer, now)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Sources that the same nodes follow, and these nodes, each with the watches of these sources that it holds."""

    sources: frozenset[str] | None  # None: all
    peers: tuple[Peer, ...]


def groups(number: int, version: str, sources: Collection[str], peers: Sequence[Peer]) -> list[Group]:
    """Return the sources of the node `number` in groups, for those of `peers` that claim watches of each.

    A node whose status does not list its sources yet, and one of another version, may follow any source.
    """
    listed = {peer.number: _listed(peer) if peer.version == version else None for peer in peers}
    by: dict[tuple[Peer, ...], set[str]] = {}
    for source in sources:
        followers = [each for each in peers if each.number == number or _may_follow(listed[each.number], source)]
        by.setdefault(tuple(followers), set()).add(source)
    if len(by) <= 1 and all(counts is None or counts.keys() <= set(sources) for counts in listed.values()):
        return [Group(sources=None, peers=next(iter(by), tuple(peers)))]
    return [
        Group(sources=frozenset(names), peers=tuple(_holding(peer, listed[peer.number], names) for peer in followers))
        for followers, names in by.items()
    ]


def _listed(peer: Peer) -> Mapping[str, int] | None:
    """Return the watches that a node holds, by source, as its status tells; None: it does not tell."""
    told = peer.told.get("sources")
    return None if told is None else {name: held for name, (held, *_) in told.items()}


def _may_follow(counts: Mapping[str, int] | None, source: str) -> bool:
    return counts is None or source in counts


def _holding(peer: Peer, counts: Mapping[str, int] | None, sources: Collection[str]) -> Peer:
    """Return a node as it holds watches of these sources; one that does not tell is taken to hold nothing else."""
    return peer if counts is None else replace(peer, held=sum(counts.get(name, 0) for name in sources))


def share(peers: Sequence[Peer], unclaimed: int) -> int:
    """Return the number of watches that each of these nodes should follow, rounded up; at least one."""
    total = sum(peer.held for peer in peers) + unclaimed
    return max(1, -(-total // max(1, len(peers))))


def givers(peers: Sequence[Peer], fair: int) -> int:
    """Return the number of nodes that have more than their share, and so release watches at the same time."""
    return sum(peer.held > fair for peer in peers)


def excess(held: int, fair: int, peers: Sequence[Peer]) -> int:
    """Return the number of watches that a node should release; none if no other node has room for them."""
    beyond = held - fair
    room = sum(max(0, fair - peer.held) for peer in peers)
    return min(beyond, room) if beyond > max(1, round(fair * SLACK)) else 0
