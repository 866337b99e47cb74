"""How many watches a node should follow, and which nodes are dead. Pure; times are the database's.

Everyone computes this for itself from the same table, a second old at most: nobody decides for others, so that what
two nodes think may differ for a moment. A node claims up to its share and lets go of what it has beyond it by and by;
what is in between belongs to nobody for a moment, and to no two ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from notifier.core.model import Micros

SLACK = 0.02  # of a share: to hold so much more is not worth a cut stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A node, as it last said of itself."""

    number: int
    name: str
    version: str
    started_at: Micros
    seen_at: Micros
    timeout: Micros  # without a sign of life that mean death
    held: int  # watches that it follows
    leaving: bool  # it takes no more of them
    status: str  # JSON object


def alive(peer: Peer, now: Micros) -> bool:
    """Say whether a node has given a sign of life; one of the far future was given before the clock was set back."""
    return abs(now - peer.seen_at) <= peer.timeout


def takers(peers: Sequence[Peer], now: Micros) -> list[Peer]:
    """Return the nodes that live and take watches."""
    return [peer for peer in peers if alive(peer, now) and not peer.leaving]


def dead(peers: Sequence[Peer], now: Micros) -> list[Peer]:
    """Return the nodes that have given no sign of life for too long."""
    return [peer for peer in peers if not alive(peer, now)]


def share(peers: Sequence[Peer], unclaimed: int) -> int:
    """Return how many watches each of these nodes should follow, rounded up; at least one, to be ready for it."""
    total = sum(peer.held for peer in peers) + unclaimed
    return max(1, -(-total // max(1, len(peers))))


def givers(peers: Sequence[Peer], fair: int) -> int:
    """Return how many nodes have more than their share, and let go of it at the same time."""
    return sum(peer.held > fair for peer in peers)


def excess(held: int, fair: int, peers: Sequence[Peer]) -> int:
    """Return how many watches a node should let go of: none where nobody has room for them."""
    beyond = held - fair
    room = sum(max(0, fair - peer.held) for peer in peers)
    return min(beyond, room) if beyond > max(1, round(fair * SLACK)) else 0
