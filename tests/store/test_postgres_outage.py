"""A PostgreSQL that goes away, in every possible way: no acknowledged write is lost, and none is done twice.

Every fault is real, on a server of the test's own.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Iterator
from functools import partial

import pytest
from database_proxy import Cut, Proxy
from servers import NAME, Server
from store_rig import T0, follow, for_operators, move, record, running, settled, wanted
from structlog.typing import EventDict
from takeover import buried_in_between
from waits import PATIENCE, until
from workload import store_events, working

from notifier.core.errors import StoreUnavailable
from notifier.store import DeliveryFilter, EventFilter, Store, postgres, writer

pytestmark = pytest.mark.usefixtures("logs")


@pytest.fixture
def url(server: Server) -> str:
    return server.url(NAME)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """Put something between the store and its server."""
    made = Proxy(server.port)
    yield made
    made.close()


@pytest.fixture
def proxied(proxy: Proxy) -> str:
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/{NAME}"


# -- the server


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
async def test_a_server_that_ends_is_waited_for(
    server: Server, url: str, how: signal.Signals, logs: list[EventDict]
) -> None:
    """Held operations wait, others fail at once, and all go on after the start.

    The outage is logged once, and so is its end."""
    async with working(url) as work:
        await asyncio.to_thread(server.stop, how)
        await until(lambda: not work.store.available)
        for refused in (
            work.store.watches.apply([wanted("new")], origin="api", now=T0),
            work.store.watches.claim(1),
            work.store.lists.summary(),
        ):
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(refused, PATIENCE)
        await asyncio.to_thread(server.start)
        await until(lambda: work.store.available)
        assert len((await work.store.watches.apply([wanted("new")], origin="api", now=T0)).added) == 1
        assert (await work.store.lists.summary())["watches"]["vidu"]["new"] == 1
    assert store_events(logs) == ["store.unavailable", "store.recovered"]


async def test_connections_that_are_ended_at_any_moment_lose_nothing(server: Server, url: str) -> None:
    """Two hundred times under load: in a statement, in COMMIT, between groups, while it connects."""
    ended = 0
    async with working(url) as work:
        async with asyncio.timeout(PATIENCE):
            while ended < 200:
                ended += len(
                    await asyncio.to_thread(
                        server.query,
                        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{NAME}' "
                        "AND application_name = 'notifier'",
                    )
                )
        await until(lambda: work.store.available)
    assert ended >= 200


def cuts_are(proxy: Proxy, count: int) -> bool:
    return proxy.cuts == count


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER, Cut.WITH], ids=lambda cut: cut.name.lower())
async def test_a_connection_that_dies_in_commit_leaves_no_doubt(proxy: Proxy, proxied: str, cut: Cut) -> None:
    """Whether it came true or not, each change is there once, and its caller has its result."""
    async with working(proxied) as work:
        for n in range(1, 21):
            proxy.cut = cut
            await until(partial(cuts_are, proxy, n))
            await work.more(10)


async def test_a_node_that_does_not_know_whether_it_has_left_ends_all_the_same(
    proxy: Proxy, proxied: str, logs: list[EventDict]
) -> None:
    """It would wait for the database without end, to learn whether its last COMMIT came true."""
    store = await asyncio.to_thread(lambda: Store.open(proxied, timeout=3.0))
    writing = asyncio.create_task(store.run(), name="store")
    await store.watches.apply([wanted("1")], origin="api", now=T0)
    proxy.cut = Cut.BEFORE
    closing = asyncio.create_task(store.close(), name="close")
    await until(lambda: proxy.cuts == 1)
    proxy.swallow()
    await asyncio.wait_for(closing, PATIENCE)
    await asyncio.wait_for(writing, PATIENCE)
    store.shutdown()
    assert [entry["event"] for entry in logs] == ["store.unavailable", "node.not_left"]


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER, Cut.WITH], ids=lambda cut: cut.name.lower())
async def test_whoever_need_not_wait_does_so_in_doubt(proxy: Proxy, proxied: str, cut: Cut) -> None:
    """A claim that came true unheard would leave watches to a node that does not know of it."""
    async with running(proxied) as store:
        proxy.cut = cut
        assert len((await store.watches.apply([wanted("1"), wanted("2")], origin="api", now=T0)).added) == 2
        assert proxy.cuts == 1
        proxy.cut = cut
        claimed = await store.watches.claim(1)
        assert [watch.id for watch in claimed] == ["1"]
        proxy.cut = cut
        claimed += await store.watches.claim(10)
        assert [watch.id for watch in claimed] == ["1", "2"]
        assert proxy.cuts == 3
        (watch, _) = await move(store, claimed[0], "queueing")
        proxy.cut = cut
        assert await store.watches.remove("vidu", "1", now=T0) == watch


async def test_what_was_taken_in_doubt_is_not_handed_out_after_a_burial(
    url: str, proxy: Proxy, proxied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim came true unheard; before its caller learns of that, what it took is another node's."""
    monkeypatch.setattr(writer, "RETRY_DELAY", 1.0)
    began: list[int] = []

    def asked() -> bool:  # the first transaction asks what became of the COMMIT
        began.append(len(began))
        return len(began) == 2

    async with running(proxied) as dying, running(url) as undertaker:
        await dying.watches.apply([wanted("1")], origin="api", now=T0)
        proxy.cut = Cut.AFTER
        claiming = asyncio.create_task(dying.watches.claim(10), name="claim")
        await until(lambda: not dying.available)
        with buried_in_between(dying, undertaker, before=asked):
            await dying.outbox.commit(None, [record(for_operators())])
        assert await claiming == []
        assert len(await undertaker.watches.claim(10)) == 1


async def test_a_commit_that_the_server_is_still_at_is_waited_for(server: Server, proxy: Proxy, proxied: str) -> None:
    """The connection is gone, the server works on: to ask at once what became of it would be told `nothing yet`."""
    server.query(
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END';"
        "CREATE CONSTRAINT TRIGGER slowly AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION slowly()",
        NAME,
    )
    async with running(proxied) as store:
        (watch,) = await follow(store, "1")
        proxy.cut = Cut.WITH
        (watch, (delivery,)) = await asyncio.wait_for(move(store, watch, "queueing"), PATIENCE)
        assert proxy.cuts == 1
        assert await store.outbox.settle(settled(delivery)) is None
        (_, deliveries) = await move(store, watch, "success")
        assert len(deliveries) == 1
        assert len(await store.lists.events(EventFilter(), limit=10)) == 2
        assert len(await store.lists.deliveries(DeliveryFilter(), limit=10)) == 2


# -- silence


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a silent server up sooner."""
    monkeypatch.setattr(postgres, "WRITE_SILENCE", 1.0)
    monkeypatch.setattr(postgres, "READ_SILENCE", 1.0)
    monkeypatch.setitem(postgres.PATIENCE, "connect_timeout", 2)
    monkeypatch.setattr(writer, "LONG", 0.7)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["frozen", "swallowed", "forsaken"])
async def test_a_server_that_says_nothing_is_given_up(
    server: Server, proxy: Proxy, proxied: str, kind: str, logs: list[EventDict]
) -> None:
    """A process that hangs and a network that swallows everything keep their sockets open: only a clock tells.

    It goes on where it was when they are well, and on new connections where the old ones never are (`forsaken`).
    """
    strike, mend = {
        "frozen": (server.freeze, server.resume),
        "swallowed": (proxy.swallow, proxy.pass_on),
        "forsaken": (proxy.swallow, proxy.forsake),
    }[kind]
    async with working(proxied) as work:
        await work.store.lists.summary()  # it has a connection to wait on
        strike()
        try:
            await until(lambda: not work.store.available)
            asked: list[Awaitable[object]] = [
                work.store.watches.claim(1),
                work.store.lists.summary(),
                work.store.outbox.claim({"app": 1}, now=T0),
            ]
            for each in asked:
                with pytest.raises(StoreUnavailable):
                    await asyncio.wait_for(each, PATIENCE)
        finally:
            mend()
        await until(lambda: work.store.available)
        await work.more()
        await work.store.lists.summary()
    assert store_events(logs)[:1] == ["store.unavailable"]
    assert store_events(logs)[-1:] == ["store.recovered"]


@pytest.mark.usefixtures("impatient")
async def test_the_end_does_not_wait_for_a_silent_server(server: Server, url: str) -> None:
    """Waiting callers get an error that the outcome is not known, and the daemon can stop."""
    async with running(url) as store:
        (watch,) = await follow(store, "1")
        server.freeze()
        try:
            moving = asyncio.create_task(move(store, watch, "queueing"))
            await until(lambda: not store.available)
            await asyncio.wait_for(store.close(), PATIENCE)
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(moving, PATIENCE)
        finally:
            server.resume()
