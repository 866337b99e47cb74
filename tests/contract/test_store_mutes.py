"""The store keeps mutes, on both databases."""

from __future__ import annotations

from store_rig import LATER, SECOND, T0, running

from notifier.core.mute import Mute
from notifier.store import Store

FIRST = Mute(id="a", created_at=T0, until=T0 + SECOND, labels={"team": "video"}, comment="x\0y")
SECOND_ONE = Mute(id="b", created_at=T0 + 1, until=LATER, endpoint="ops")


async def test_mutes_are_kept_over_a_restart(store_url: str) -> None:
    """As they were given, oldest first; those that ended before a time are left out."""
    async with running(store_url) as store:
        await store.mutes.add(SECOND_ONE)
        await store.mutes.add(FIRST)
    async with running(store_url) as store:
        first, second = await store.mutes.since(T0)
        assert (first.id, first.labels, first.comment) == ("a", {"team": "video"}, "x\ufffdy")
        assert second == SECOND_ONE
        assert [mute.id for mute in await store.mutes.since(T0 + SECOND)] == ["b"]


async def test_a_mute_is_removed_once(store: Store) -> None:
    """And forgotten by itself some time after its end."""
    await store.mutes.add(FIRST)
    await store.mutes.add(SECOND_ONE)
    assert await store.mutes.remove("b")
    assert not await store.mutes.remove("b")
    await store.prune(T0 + SECOND)
    assert len(await store.mutes.since(0)) == 1
    await store.prune(LATER)
    assert await store.mutes.since(0) == []
