"""Messages that are edited: any node finds them, one that knows the last replaces it; they end with their watches."""

from __future__ import annotations

from dataclasses import replace

from store_rig import LATER, follow, lose, running

from notifier.core.model import ChatMessage
from notifier.store import Store

FIRST = ChatMessage(place="p", channel="C1", ts="1.1", sequence=1)


async def test_a_message_is_found_where_it_is(store: Store) -> None:
    """By endpoint, watch and place."""
    await store.messages.keep("ops", 1, FIRST, before=None)
    assert await store.messages.find("ops", 1, "p") == FIRST
    assert await store.messages.find("ops", 1, "elsewhere") is None
    assert await store.messages.find("ops", 2, "p") is None
    assert await store.messages.find("app", 1, "p") is None


async def test_another_process_finds_it(store_url: str) -> None:
    """After a restart; of two nodes each finds what the other kept."""
    async with running(store_url, name="a") as store:
        await store.messages.keep("ops", 1, FIRST, before=None)
        if store_url.startswith("postgresql"):
            async with running(store_url, name="b") as other:
                assert await other.messages.find("ops", 1, "p") == FIRST
    async with running(store_url, name="a") as store:
        assert await store.messages.find("ops", 1, "p") == FIRST


async def test_the_first_of_two_new_messages_stays(store: Store) -> None:
    """Two nodes may have posted; edits go to one of them."""
    await store.messages.keep("ops", 1, FIRST, before=None)
    await store.messages.keep("ops", 1, replace(FIRST, ts="2.2"), before=None)
    assert await store.messages.find("ops", 1, "p") == FIRST


async def test_a_message_of_another_place_is_replaced(store: Store) -> None:
    """The endpoint posts to another channel now."""
    moved = replace(FIRST, place="q", ts="2.2")
    await store.messages.keep("ops", 1, FIRST, before=None)
    await store.messages.keep("ops", 1, moved, before=None)
    assert await store.messages.find("ops", 1, "q") == moved


async def test_a_change_is_of_the_message_that_was_known(store: Store) -> None:
    """A change that names an older message changes nothing."""
    second = replace(FIRST, ts="2.2", sequence=2, replied="msg_2")
    await store.messages.keep("ops", 1, FIRST, before=None)
    await store.messages.keep("ops", 1, second, before=FIRST)
    await store.messages.keep("ops", 1, replace(FIRST, ts="3.3"), before=FIRST)
    assert await store.messages.find("ops", 1, "p") == second


async def test_messages_are_forgotten_with_their_watches(store: Store) -> None:
    """And not before."""
    kept, gone = await follow(store, "1", "2")
    for watch in (kept, gone):
        await store.messages.keep("ops", watch.pk, FIRST, before=None)
    await lose(store, gone, to=())
    await store.prune(LATER)
    assert await store.messages.find("ops", gone.pk, "p") is None
    assert await store.messages.find("ops", kept.pk, "p") == FIRST
