"""One node at a time changes an endpoint in the store, and the event is committed with the change."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from store_rig import T0, for_operators, record, running

from notifier.core import endpoint
from notifier.core.endpoint import EndpointUpdate
from notifier.core.model import Address, EndpointState
from notifier.store import DeliveryFilter, EndpointChange, EventFilter, Store

OPS = [Address(endpoint="ops")]
GONE = endpoint.disabling(T0, "http_410", T0 - 5)
BLANK = EndpointState(name="app", fingerprint="f1")


def changing(make: EndpointUpdate, *, name: str = "app", fingerprint: str = "f1") -> EndpointChange:
    """Ask for a change."""
    return EndpointChange(name=name, fingerprint=fingerprint, update=make)


async def test_the_health_of_an_endpoint_is_kept_over_a_restart(store_url: str) -> None:
    """Each name has a row of its own."""
    async with running(store_url) as store:
        assert await store.endpoints.states() == []
        await store.endpoints.change(changing(GONE))
        await store.endpoints.change(changing(endpoint.forgiving, name="ops", fingerprint="f2"))
    app = replace(BLANK, disabled_at=T0, reason="http_410", failing_since=T0 - 5, version=1)
    ops = EndpointState(name="ops", fingerprint="f2")
    async with running(store_url) as store:
        assert await store.endpoints.states() == [app, ops]


async def test_a_change_is_done_once(store: Store) -> None:
    """A second change of the same kind finds that there is nothing to change, and sees the state."""
    asked = [store.endpoints.change(changing(GONE), [record(for_operators(), OPS)]) for _ in range(5)]
    changes = await asyncio.gather(*asked)
    done = [change for change in changes if change.done]
    assert len(done) == 1
    assert done[0].before == BLANK
    assert {change.after for change in changes} == {done[0].after}
    assert [delivery.endpoint for delivery in done[0].deliveries] == ["ops"]
    assert len(await store.lists.events(EventFilter(), limit=10)) == 1
    assert len(await store.lists.deliveries(DeliveryFilter(), limit=10)) == 1


async def test_what_was_known_of_another_url_is_void(store: Store) -> None:
    """The change starts from nothing, and what it leaves is of the new URL."""
    await store.endpoints.change(changing(GONE))
    changed = await store.endpoints.change(changing(GONE, fingerprint="f2"))
    assert (changed.done, changed.before.disabled_at, changed.after.version) == (True, None, 2)
    assert [state.fingerprint for state in await store.endpoints.states()] == ["f2"]


async def test_events_of_one_transaction_keep_apart(store: Store) -> None:
    """Those of steps and those of endpoints are committed together, each under a key of its own."""
    changes = [
        store.endpoints.change(changing(GONE, name=f"e{n}"), [record(for_operators(T0 + n), OPS)]) for n in range(20)
    ]
    commits = [store.outbox.commit(None, [record(for_operators(T0 + 100 + n), OPS)]) for n in range(20)]
    changed, committed = await asyncio.gather(asyncio.gather(*changes), asyncio.gather(*commits))
    ids = [change.deliveries[0].id for change in changed] + [taken[0].id for taken in committed]
    assert len(set(ids)) == 40
    assert len(await store.lists.events(EventFilter(), limit=100)) == 40
