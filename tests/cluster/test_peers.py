"""The report on the nodes that share a store."""

from __future__ import annotations

import json
from typing import Any

from notifier.cluster import NodeReport, Peers, ThisNode
from notifier.core.payload import timestamp
from notifier.core.share import Peer
from notifier.store import NodeList

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND


def peer(number: int, *, age: float = 0.5, status: str | None = None, **more: Any) -> Peer:
    told = json.dumps({"streams": 7, "pid": 40 + number}) if status is None else status
    fields: dict[str, Any] = {
        "name": f"web-{number}",
        "version": "0.1.0",
        "started_at": NOW - 60 * SECOND,
        "timeout": 10 * SECOND,
        "held": 8,
        "leaving": False,
    }
    return Peer(number=number, seen_at=NOW - round(age * SECOND), status=told, **fields | more)


class Me(ThisNode):
    """A node without a store, under a number that a test chooses."""

    number = 0

    def __init__(self, number: int) -> None:
        self.name, self.timeout, self.started_at = "me", 10.0, NOW - 60 * SECOND
        self.number = number

    def status(self) -> Any:
        return {"watches": 3, "streams": 2, "pid": 42}


def report(census: NodeList | None, *, number: int = 2, now: int = NOW) -> NodeReport:
    return NodeReport(Me(number), clock=lambda: now, peers=Peers(census))


def census(*peers: Peer, number: int = 2) -> NodeList:
    return NodeList(number=number, peers=peers, free={}, now=NOW)


def test_alone_there_is_one_node() -> None:
    """Without a census, as on SQLite, and before the first."""
    [item] = report(None).items()
    assert (item["name"], item["alive"], item["this"], item["watches"]) == ("me", True, True, 3)
    assert item["reason"] is None


def test_this_node_is_told_as_it_is_now() -> None:
    """The store's row of it is a second old, so its own status is used."""
    items = report(census(peer(1), peer(2), peer(3))).items()
    assert [item["number"] for item in items] == [1, 2, 3]
    assert [item["this"] for item in items] == [False, True, False]
    assert [item["watches"] for item in items] == [8, 3, 8]
    assert [item["streams"] for item in items] == [7, 2, 7]


def test_this_node_began_when_the_store_says_so() -> None:
    """As the others tell it: its own machine's clock may be another."""
    began = NOW - 30 * SECOND
    for item in report(census(peer(1, started_at=began), peer(2, started_at=began))).items():
        assert item["started_at"] == timestamp(began)
    [alone] = report(None).items()
    assert alone["started_at"] == timestamp(NOW - 60 * SECOND)


def test_a_node_without_a_sign_of_life_is_dead() -> None:
    """By its own timeout; it counts for nothing."""
    found = report(census(peer(1, age=11), peer(2), peer(3, age=11, timeout=30 * SECOND), peer(4, leaving=True)))
    assert [item["alive"] for item in found.items()] == [False, True, True, True]
    assert found.states() == {"alive": 2, "leaving": 1, "dead": 1}
    assert sum(status["streams"] for status in found.statuses()) == 16


def test_who_was_away_itself_knows_of_no_other() -> None:
    """Its own picture is old: that says nothing about the others."""
    found = report(census(peer(1), peer(2)), now=NOW + 11 * SECOND)
    assert [item["alive"] for item in found.items()] == [None, True]


def test_a_node_that_was_taken_for_dead_is_told_once() -> None:
    """Under its new number, before the store has told of that."""
    assert [item["number"] for item in report(census(peer(1), peer(2)), number=5).items()] == [1, 5]


def test_what_a_node_does_not_tell_is_null() -> None:
    """It has just begun, or has another version. A node whose status cannot be read is listed as well."""
    for status in ("{}", "[]", "nonsense"):
        other = report(census(peer(1, status=status), peer(2))).items()[0]
        assert (other["name"], other["watches"], other["streams"], other["ready"]) == ("web-1", 8, None, None)


def test_a_node_has_a_name() -> None:
    """One that nobody has seen yet is called by its number."""
    found = report(census(peer(1), peer(2)))
    assert [found.name(number) for number in (1, 2, 9)] == ["web-1", "me", "number 9"]
    assert report(None).name(9) == "number 9"
