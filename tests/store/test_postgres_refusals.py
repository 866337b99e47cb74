"""A PostgreSQL that is up, but refuses to write: the store waits for it, whatever the error."""

from __future__ import annotations

import psycopg
import pytest
from servers import NAME, Server
from store_rig import follow, move, running, settled
from structlog.typing import EventDict
from waits import until
from workload import store_events, working

from notifier.core.errors import StoreError
from notifier.store import EventFilter, Store, postgres

pytestmark = pytest.mark.usefixtures("logs")


@pytest.fixture
def url(server: Server) -> str:
    return server.url(NAME)


async def test_too_many_connections(server: Server, url: str) -> None:
    """At a start it is said; later it is waited for."""
    server.query("CREATE ROLE few LOGIN CONNECTION LIMIT 0")
    server.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO few", NAME)
    few = server.url(NAME, user="few")
    try:
        with pytest.raises(StoreError, match=r"too many connections for role <secret>$"):
            Store.open(few)
        server.query("ALTER ROLE few CONNECTION LIMIT 10")
        async with working(few) as work:
            server.query("ALTER ROLE few CONNECTION LIMIT 0")
            server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'few'")
            await until(lambda: not work.store.available)
            server.query("ALTER ROLE few CONNECTION LIMIT 10")
            await until(lambda: work.store.available)
    finally:
        server.query("DROP OWNED BY few", NAME)
        server.query("DROP ROLE few")


async def test_a_server_that_became_read_only_is_waited_for(server: Server, url: str) -> None:
    """As an operator may set it for a move; the connections that there are feel it at once."""
    async with working(url) as work:
        server.query("ALTER SYSTEM SET default_transaction_read_only = on")
        server.query("SELECT pg_reload_conf()")
        await until(lambda: not work.store.available)
        server.query("ALTER SYSTEM RESET default_transaction_read_only")
        server.query("SELECT pg_reload_conf()")
        await until(lambda: work.store.available)


async def test_rights_that_were_taken_away_are_waited_for(server: Server, url: str) -> None:
    """They are like a file's permissions, and no fault of the rows."""
    server.query("CREATE ROLE clerk LOGIN")
    server.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk", NAME)
    try:
        async with working(server.url(NAME, user="clerk")) as work:
            server.query("REVOKE INSERT ON events FROM clerk", NAME)
            await until(lambda: not work.store.available)
            server.query("GRANT INSERT ON events TO clerk", NAME)
            await until(lambda: work.store.available)
    finally:
        server.query("DROP OWNED BY clerk", NAME)
        server.query("DROP ROLE clerk")


async def test_a_lock_that_another_holds_for_long_is_an_outage(
    url: str, monkeypatch: pytest.MonkeyPatch, logs: list[EventDict]
) -> None:
    """A table that is locked by hand, as for a change of its shape."""
    monkeypatch.setattr(postgres, "LOCK_TIMEOUT", 200)
    async with working(url) as work:
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
            await until(lambda: not work.store.available)
        await until(lambda: work.store.available)
    assert "lock timeout" in str(logs[0]["error"])


async def test_deadlocks_are_tried_again_at_once(url: str, server: Server, logs: list[EventDict]) -> None:
    """The database chose the store's transaction to give way: nobody has to hear of it."""
    server.query(
        "CREATE SEQUENCE tries; CREATE FUNCTION give_way() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
        "IF nextval('tries') % 2 = 1 THEN RAISE EXCEPTION 'give way' USING ERRCODE = '40P01'; END IF; RETURN NEW; "
        "END$$; CREATE TRIGGER give_way BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION give_way()",
        NAME,
    )
    async with running(url) as store:
        (watch,) = await follow(store, "1")
        (watch, (delivery,)) = await move(store, watch, "queueing")
        await store.outbox.settle(settled(delivery))
        (_, deliveries) = await move(store, watch, "success")
        assert len(deliveries) == 1
        assert len(await store.lists.events(EventFilter(), limit=10)) == 2
    assert store_events(logs) == []
    assert server.query("SELECT last_value FROM tries", NAME) == [(4,)]
