"""How many watches each node follows, and who is dead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import share
from notifier.core.share import Peer

NOW = 1_000_000_000
TIMEOUT = 10_000_000


def peer(number: int = 1, *, held: int = 0, silent: int = 0, leaving: bool = False, timeout: int = TIMEOUT) -> Peer:
    return Peer(
        number=number,
        name=f"node-{number}",
        version="1",
        started_at=0,
        seen_at=NOW - silent,
        timeout=timeout,
        held=held,
        leaving=leaving,
        status="{}",
    )


def test_who_was_silent_for_longer_than_its_own_timeout_is_dead() -> None:
    """At the very timeout it is not yet; another node's timeout is none of its business."""
    just = peer(1, silent=TIMEOUT)
    late = peer(2, silent=TIMEOUT + 1)
    patient = peer(3, silent=TIMEOUT + 1, timeout=2 * TIMEOUT)
    ahead = peer(4, silent=-TIMEOUT)
    before = peer(5, silent=-TIMEOUT - 1)  # the clock was set back since
    assert share.dead([just, late, patient, ahead, before], NOW) == [late, before]
    assert share.takers([just, late, patient, ahead, before], NOW) == [just, patient, ahead]


def test_who_leaves_takes_nothing_but_is_not_dead() -> None:
    """It gives signs of life until it has gone."""
    leaving = peer(leaving=True)
    assert share.takers([leaving], NOW) == share.dead([leaving], NOW) == []


@pytest.mark.parametrize(
    ("held", "unclaimed", "fair"),
    [((), 0, 1), ((), 7, 7), ((0, 0), 0, 1), ((0, 0), 1, 1), ((4, 3), 0, 4), ((10, 0, 0), 2, 4), ((3, 3, 3), 0, 3)],
)
def test_share(held: tuple[int, ...], unclaimed: int, fair: int) -> None:
    """Everything divided by everyone, rounded up, so that nothing is left over."""
    assert share.share([peer(n, held=count) for n, count in enumerate(held)], unclaimed) == fair


@pytest.mark.parametrize(
    ("held", "fair", "others", "count"),
    [
        (10, 10, (0,), 0),  # it is the share
        (11, 10, (0,), 0),  # one is not worth it
        (12, 10, (0,), 2),
        (102, 100, (50,), 0),  # within the slack
        (103, 100, (50,), 3),
        (200, 100, (99, 100, 150), 1),  # as far as there is room
        (200, 100, (), 0),
        (5, 10, (0,), 0),
    ],
)
def test_excess(held: int, fair: int, others: tuple[int, ...], count: int) -> None:
    """A node lets go of what is beyond its share, if it is worth it and others have room."""
    assert share.excess(held, fair, [peer(n, held=has) for n, has in enumerate(others)]) == count


def test_givers_are_those_beyond_the_share() -> None:
    """So that each of them is as slow as all together may be fast."""
    assert share.givers([peer(1, held=5), peer(2, held=4), peer(3, held=9)], 4) == 2


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=20), st.integers(0, 5000))
def test_letting_go_and_claiming_ends_in_balance(held: list[int], unclaimed: int) -> None:
    """Whatever nodes hold: one turn each, in any order, and nobody lacks more than the others' slack."""
    peers = [peer(n, held=count) for n, count in enumerate(held)]
    total = sum(held) + unclaimed
    fair = share.share(peers, unclaimed)
    free = unclaimed
    for n, mine in enumerate(peers):
        gone = share.excess(mine.held, fair, peers[:n] + peers[n + 1 :])
        assert 0 <= gone <= max(0, mine.held - fair)
        peers[n] = peer(n, held=mine.held - gone)
        free += gone
    for n, mine in enumerate(peers):
        took = min(free, max(0, fair - mine.held))
        peers[n], free = peer(n, held=mine.held + took), free - took
    assert free == 0
    assert sum(each.held for each in peers) == total
    assert max(each.held for each in peers) <= max(fair + max(1, round(fair * share.SLACK)), 1)


def naming(number: int, sources: Mapping[str, int] | None, *, version: str = "1") -> Peer:
    """Return a node that follows so many watches of each of these sources; None: it does not say yet."""
    status = (
        "{}" if sources is None else json.dumps({"sources": {name: [held, 0, 0] for name, held in sources.items()}})
    )
    return replace(peer(number, held=sum((sources or {}).values())), status=status, version=version)


def of(sources: str, *peers: Peer) -> dict[frozenset[str] | None, dict[int, int]]:
    """Return what each node holds of each group of the first one's sources."""
    groups = share.groups(peers[0].number, "1", list(sources), peers)
    assert len(groups) == len({group.sources for group in groups})
    return {group.sources: {each.number: each.held for each in group.peers} for group in groups}


def test_nodes_with_the_same_sources_share_all_of_them() -> None:
    """Also with one that has just come, with one of another version, and beside one that follows nothing."""
    one = naming(1, {"a": 3, "b": 4})
    assert of("ab", one, naming(2, {"a": 1, "b": 0})) == {None: {1: 7, 2: 1}}
    assert of("ab", one, naming(2, None)) == {None: {1: 7, 2: 0}}
    assert of("ab", one, naming(2, {"a": 5}, version="0")) == {None: {1: 7, 2: 5}}
    assert of("ab", one, naming(2, {})) == {None: {1: 7}}
    for status in ("", "[]", '{"sources": nothing'):
        assert of("ab", one, replace(naming(2, None), status=status)) == {None: {1: 7, 2: 0}}, "it cannot be read"


def test_a_source_is_shared_by_those_that_name_it() -> None:
    """What they hold of others does not count."""
    one, two, three = naming(1, {"a": 3, "b": 4}), naming(2, {"a": 1, "c": 9}), naming(3, {"a": 2, "b": 0})
    assert of("ab", one, two, three) == {frozenset("a"): {1: 3, 2: 1, 3: 2}, frozenset("b"): {1: 4, 3: 0}}
    assert of("ac", two, one, three) == {frozenset("a"): {1: 3, 2: 1, 3: 2}, frozenset("c"): {2: 9}}
    assert of("a", naming(4, {"a": 0}), one) == {frozenset("a"): {4: 0, 1: 3}}


@given(st.dictionaries(st.integers(1, 6), st.dictionaries(st.sampled_from("abcd"), st.integers(0, 50)), min_size=1))
def test_each_source_is_in_one_group_of_those_that_name_it(names: dict[int, dict[str, int]]) -> None:
    """So each of its watches is in the share of nodes that can follow it."""
    peers = [naming(number, sources) for number, sources in names.items()]
    for me, sources in names.items():
        for group in share.groups(me, "1", sources, peers):
            for source in sources if group.sources is None else group.sources:
                assert {each.number for each in group.peers} == {n for n in names if source in names[n]}
        grouped = [group.sources for group in share.groups(me, "1", sources, peers)]
        assert grouped == [None] or sorted(name for group in grouped for name in group or ()) == sorted(sources)
