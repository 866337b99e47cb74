"""Which nodes share the store: this one as it is now, the others as they last told, about a second ago.

Everything is read from what the store told last: whoever asks costs it nothing, and is answered while it is away.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from notifier import __version__
from notifier.core import share
from notifier.core.model import Json, Micros
from notifier.core.payload import timestamp
from notifier.core.share import Peer
from notifier.store.values import NodeList

STATES = ("alive", "leaving", "dead")
TOLD = (  # of a node's status, null where it told nothing: it has just begun, or is of another version
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this node is; what may change is asked for."""

    name: str
    number: Callable[[], int]  # another one after it was taken for dead
    started_at: Micros
    timeout: float  # seconds without a sign of life that mean death
    ready: Callable[[], str | None]  # what is missing
    http: Callable[[], str | None]  # the listener's address


class Neighbours:
    """Tells of the nodes."""

    def __init__(
        self,
        identity: Identity,
        *,
        clock: Callable[[], Micros],
        itself: Callable[[], Json],
        census: Callable[[], NodeList | None],
    ) -> None:
        """Make ready; `itself` tells this node's status, `census` what the store told last, None if there is no other.

        `itself` has to have the key `watches`.
        """
        self._identity = identity
        self._clock = clock
        self._itself = itself
        self._census = census

    def told(self) -> list[Json]:
        """List the nodes, this one among them, by their numbers."""
        return [_item(status, fields) for fields, status in self._all()]

    def name(self, number: int) -> str:
        """Return what a node is called; for the second until one that has just begun is known, its number does."""
        if number == self._identity.number():
            return self._identity.name
        census = self._census()
        found = [peer.name for peer in census.peers if peer.number == number] if census is not None else []
        return found[0] if found else f"number {number}"

    def statuses(self) -> list[Mapping[str, Any]]:
        """Return what the nodes that live tell of themselves."""
        return [status for fields, status in self._all() if fields["alive"] is not False]

    def states(self) -> dict[str, int]:
        """Count the nodes by what they are."""
        counted = Counter(_state(fields) for fields, _ in self._all())
        return {state: counted[state] for state in STATES}

    def _all(self) -> list[tuple[Json, Mapping[str, Any]]]:
        census, number = self._census(), self._identity.number()
        others = [peer for peer in census.peers if peer.number not in (census.number, number)] if census else []
        leaving = census is not None and any(peer.leaving for peer in census.peers if peer.number == number)
        told = [(self._other(peer), {**_status(peer), "watches": peer.held}) for peer in others]
        told.append((self._this(number, leaving=leaving), self._itself()))
        return sorted(told, key=lambda each: int(each[0]["number"]))

    def _this(self, number: int, *, leaving: bool) -> Json:
        return {
            "number": number,
            "name": self._identity.name,
            "version": __version__,
            "started_at": timestamp(self._identity.started_at),
            "seen_at": timestamp(self._clock()),
            "timeout_seconds": self._identity.timeout,
            "alive": True,
            "leaving": leaving,
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
        """Say whether a node lives; None where this one was away itself, and cannot know."""
        census = self._census()
        if census is None or self._clock() - census.now > self._identity.timeout * 1e6:
            return None
        return share.alive(peer, census.now)


def _item(status: Mapping[str, Any], fields: Json) -> Json:
    return fields | {"watches": status["watches"]} | {key: status.get(key) for key in TOLD}


def _state(fields: Json) -> str:
    if fields["alive"] is False:
        return "dead"
    return "leaving" if fields["leaving"] else "alive"


def _status(peer: Peer) -> Mapping[str, Any]:
    try:
        told = json.loads(peer.status)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
