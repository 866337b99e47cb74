"""Statements that are sent together fail as the one that failed, and a group takes two round trips."""

from __future__ import annotations

from collections.abc import Iterator

import databases
import psycopg
import pytest
from store_rig import T0, claim, follow, move, observed, recorded, running

from bench.relay import relay
from notifier.store import postgres
from notifier.store.connection import Connection
from notifier.store.pipeline import Pipeline, Sendable, Sent

PART = Sendable("PART", "SELECT 10 / :by::bigint")
UNKNOWN = Sendable("UNKNOWN", "SELECT nothing FROM nowhere")


@pytest.fixture
def connection() -> Iterator[Connection]:
    """Open a database as the store does for writing."""
    with databases.empty_database() as url, postgres.PostgresEngine(url, writable=True).connect() as connection:
        yield connection


def pipeline(connection: Connection) -> Pipeline:
    """Return a pipeline on the connection of the driver."""
    return Pipeline(connection.raw)


def part(connection: Connection) -> list[tuple[object, ...]]:
    """Send one statement in a transaction; return its rows."""
    with connection.begin(), pipeline(connection) as sending:
        sent: Sent = sending.send(PART, [{"by": 5}])
    return sent.rows()


def test_what_is_told_is_the_failure_and_not_what_it_kept_from_running(connection: Connection) -> None:
    """A conflict that is to be tried again would pass for an outage otherwise."""

    def divide() -> None:
        with connection.begin(), pipeline(connection) as sending:
            for by in (1, 0, 2, 3):
                sending.send(PART, [{"by": by}])

    with pytest.raises(psycopg.errors.DivisionByZero):
        divide()
    assert part(connection) == [(2,)]


def test_a_statement_stays_prepared_however_a_transaction_ends(connection: Connection) -> None:
    """Whether it was prepared before one that failed or after, committed or rolled back: it can be sent again."""

    def fail(*statements: Sendable) -> None:
        with connection.begin(), pipeline(connection) as sending:
            for statement in statements:
                sending.send(statement, [{"by": 5}])

    for statements in ((UNKNOWN, PART), (PART, UNKNOWN)):
        with pytest.raises(psycopg.errors.UndefinedTable):
            fail(*statements)
    assert part(connection) == [(2,)]
    connection.execute("SELECT 1")
    connection.raw.rollback()
    assert part(connection) == part(connection) == [(2,)]


def test_a_fault_between_statements_is_told_as_it_is(connection: Connection) -> None:
    """The statements before it are rolled back, and the connection stays usable."""

    def stumble() -> None:
        with connection.begin(), pipeline(connection) as sending:
            sending.send(PART, [{"by": 0}])
            sending.send(PART, [{"by": 2**63}])

    with pytest.raises(OverflowError):
        stumble()
    assert part(connection) == [(2,)]


def test_a_session_that_was_ended_is_an_outage(connection: Connection) -> None:
    """It is told at once."""
    assert part(connection) == [(2,)]
    raw = connection.raw
    with psycopg.connect(raw.info.dsn, autocommit=True) as other:
        databases.end_sessions(other, raw.info.backend_pid)

    def send() -> None:
        with pipeline(connection) as sending:
            sending.send(PART, [{"by": 5}])

    with pytest.raises(psycopg.OperationalError):
        send()


def test_what_follows_is_of_the_same_transaction(connection: Connection) -> None:
    """It began with the statements that were sent together, and ends with the block around."""
    connection.execute("CREATE TABLE said (word text)")
    connection.raw.commit()

    def say() -> None:
        with connection.begin():
            with pipeline(connection) as sending:
                sending.send(PART, [{"by": 5}])
            connection.execute("INSERT INTO said VALUES ('unsaid')")
            raise KeyError

    with pytest.raises(KeyError):
        say()
    with connection.begin():
        assert connection.execute("SELECT count(*) FROM said").scalar() == 0


async def test_a_group_takes_two_round_trips() -> None:
    """One for all its statements, one for the commit; whatever the number of changes in it."""
    with databases.database() as url, relay(url) as through:
        async with running(through.url) as store:
            [watch] = await follow(store, "1")
            watch, _ = await move(store, watch, "queueing")  # takes a block of ids
            before = through.writer()
            for number in range(10):
                watch, _ = await move(store, watch, f"state {number}")
            trips, groups = (after - then for after, then in zip(through.writer(), before, strict=True))
    assert groups == 10
    assert trips == 20


async def test_of_events_of_one_group_only_the_first_of_a_lane_is_ready() -> None:
    """The one statement that inserts them sees none of them in the table."""
    with databases.database() as url:
        async with running(url) as store:
            [watch] = await follow(store, "1")
            one = observed(watch, "queueing", T0)
            two = observed(one.watch, "processing", T0 + 1)
            taken = await store.outbox.commit(two.watch, [*recorded(one), *recorded(two)])
            assert len(taken) == 1
            assert await claim(store, now=T0 + 2) == []
            assert (await store.lists.summary())["pending"]["app"]["count"] == 2
