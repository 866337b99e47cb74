"""Each call into the database fails once, at every place of what a daemon does to its store: nothing is lost, no hang.

A course of a watch is played again and again, each time with another watch and another call that fails. What is stored
in the end, and what the callers were told, is as without a fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import databases
import pytest
from driver_faults import Faults, Moment, install_postgresql, install_sqlite
from store_rig import APP, SECOND, T0, claim, for_operators, move, record, running, settled, wanted
from waits import PATIENCE

from notifier.core import endpoint
from notifier.core.callback import Callback
from notifier.core.errors import StoreError, StoreUnavailable
from notifier.core.model import Address, Delivery, Watch
from notifier.store import (
    CallbackHealth,
    Dead,
    DeliveryFilter,
    EndpointChange,
    EventFilter,
    Later,
    Nodes,
    Recovery,
    Store,
    WatchFilter,
    writer,
)

T = TypeVar("T")
BOTH = (*APP, Address(endpoint="newest", latest=True))
LEAST = 60  # calls that a course has
MOST = 40  # courses until all have failed


async def again(call: Callable[[], Awaitable[T]]) -> T:
    """Ask until the database answers, as a daemon does."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.001)


async def course(store: Store, name: str) -> dict[str, Any]:
    """Do what a daemon does with a watch, from its addition to its end; return what is stored of it."""
    own = Callback(url=f"https://example.com/{name}")
    await again(lambda: store.watches.apply([wanted(name, callback=own)], origin="api", now=T0))
    (watch,) = await again(lambda: store.watches.claim(10))
    for number, state in enumerate(("queueing", "success")):
        watch = await _moved(store, watch, state, T0 + number, own)
    await again(lambda: claim(store, "app", "newest", now=T0 + 90 * SECOND))
    taken = await again(lambda: store.endpoints.take_callbacks(10, now=T0 + 90 * SECOND))
    for destination, _ in taken.taken:
        for delivery in await again(lambda: claim(store, destination.name, now=T0 + 90 * SECOND)):  # noqa: B023
            await _accept(store, delivery)
        await store.endpoints.leave_callbacks({destination.name: CallbackHealth()}, now=T0 + 91 * SECOND)
    await _tend(store, name)
    assert not await again(lambda: store.watches.claim(10)), "it has ended"
    return await stored(store, name)


async def _moved(store: Store, watch: Watch, state: str, at: int, own: Callback) -> Watch:
    """Commit a step; refuse each delivery once, then bury it, then accept it."""
    to = (*BOTH, Address(endpoint=own.name, take=False))
    watch, deliveries = await move(store, watch, state, at=at, to=to)
    for delivery in deliveries:
        later = Later(due=at, attempt=1, reason="http_500")
        assert await store.outbox.settle(settled(delivery, later, at=at), urgent=True) is None
    for delivery in await again(lambda: claim(store, "app", "newest", now=at)):
        await store.outbox.settle(settled(delivery, Dead(attempt=2, reason="http_500"), at=at + 1), urgent=True)
    which = DeliveryFilter(watch=("vidu", watch.id), status="dead")
    await again(lambda: store.outbox.retry(which, now=at + 2))
    for delivery in await again(lambda: claim(store, "app", "newest", now=at + 2)):
        await _accept(store, delivery)
    return watch


async def _accept(store: Store, delivery: Delivery | None) -> None:
    while delivery is not None:
        delivery = await store.outbox.settle(settled(delivery, at=T0 + 60 * SECOND), urgent=True)


async def _tend(store: Store, name: str) -> None:
    """Do what belongs to no watch."""
    await store.outbox.commit(None, [record(for_operators(), ())])
    ill = EndpointChange(name="app", fingerprint="f", update=endpoint.disabling(T0, "http_410", None))
    well = EndpointChange(name="app", fingerprint="f", update=endpoint.enabling)
    for change in (ill, well):
        assert (await store.endpoints.change(change)).done
    recovered = Recovery(endpoint="app", at=T0, failing_since=T0, created_after=0)
    await store.outbox.hasten(recovered)
    await again(lambda: store.prune(T0 - 1))
    removed = f"{name} removed"
    await again(lambda: store.watches.apply([wanted(removed)], origin="api", now=T0))
    await again(lambda: store.watches.remove("vidu", removed, now=T0))
    if store.nodes is not None:
        await _among_nodes(store.nodes)


async def _among_nodes(nodes: Nodes) -> None:
    await again(lambda: nodes.beat(held=0, status={}))
    await again(lambda: nodes.lead({}))
    await again(nodes.mine)


async def stored(store: Store, name: str) -> dict[str, Any]:
    """Return what is stored of a watch, without what differs from watch to watch."""
    (watch,) = await again(lambda: store.lists.watches(WatchFilter(id=name), limit=2))
    which = DeliveryFilter(watch=("vidu", name))
    found = await again(lambda: store.lists.deliveries(which, limit=50))
    details = [await again(lambda: store.lists.delivery(item["id"])) for item in found]  # noqa: B023
    events = await again(lambda: store.lists.events(EventFilter(task=name), limit=50))
    return {
        "watch": (watch["phase"], watch["sequence"]),
        "events": [(item["sequence"], item["type"]) for item in events],
        "deliveries": sorted(
            (
                item["endpoint"].partition(":")[0],
                item["sequence"],
                item["status"],
                item["attempt"],
                len(item["attempts"]),
            )
            for item in details
            if item is not None
        ),
    }


@pytest.fixture
def faults() -> Iterator[Faults]:
    """Return faults that no call after the test meets."""
    made = Faults()
    yield made
    made.disarm()


async def every_call_fails_once(store: Store, faults: Faults, *moments: Moment) -> None:
    """Play the course until every call of it has failed, at each of these moments."""
    await course(store, "first")  # takes blocks of ids, and prepares statements
    faults.learn(True)
    usual = await course(store, "usual")
    faults.learn(False)
    assert len(faults.known) > LEAST
    for moment in moments:
        faults.arm(moment)
        for turn in range(MOST):
            before = set(faults.left)
            found = await course(store, f"{moment} {turn}")
            assert found == usual, f"{before - faults.left} failed, {moment} they were done"
            if not faults.left:
                break
        faults.disarm()
        assert not faults.left, "calls that no course came to again"


@pytest.fixture(autouse=True)
def hasty_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(writer, "RETRY_DELAY", 0.001)


async def test_sqlite(url: str, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call fails before it is done: SQLite says so only of what it has not done."""
    install_sqlite(faults, monkeypatch)
    async with running(url) as store:
        await every_call_fails_once(store, faults, "before")


@pytest.mark.slow
async def test_postgresql(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is lost before a call, or when the server has done it and nobody knows."""
    with databases.database() as shared:
        install_postgresql(faults, monkeypatch)
        async with running(shared) as store:
            await every_call_fails_once(store, faults, "before", "after")


def test_an_opening_that_fails_leaves_a_database_that_opens(
    path: Path, url: str, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever call of a start fails, it says why; the next start makes the tables, or finds them."""
    install_sqlite(faults, monkeypatch)
    faults.learn(True)
    Store.open(url).shutdown()
    faults.learn(False)
    path.unlink()
    errors: list[str] = []
    faults.arm("before")
    for _ in range(MOST):
        try:
            store = Store.open(url)
        except StoreError as exc:
            errors.append(str(exc))
        else:
            store.shutdown()
            path.unlink()  # the tables were made: once more without
    faults.disarm()
    assert len(errors) > 10
    assert all("disk I/O error" in error for error in errors)
    asyncio.run(_goes_on(url))


async def _goes_on(url: str) -> None:
    async with running(url) as store:
        assert await course(store, "1")
