"""Statements that are sent together fail as the one that failed, and a group takes two round trips."""

from __future__ import annotations

from collections.abc import Iterator

import databases
import psycopg
import pytest
from sqlalchemy import BigInteger, Connection, bindparam, literal_column, select
from store_rig import T0, claim, follow, move, observed, recorded, running

from bench.relay import relay
from notifier.store import postgres
from notifier.store.prepared import Prepared, together

PART = Prepared(select(literal_column("10", BigInteger) // bindparam("by", type_=BigInteger)))


@pytest.fixture
def connection() -> Iterator[Connection]:
    """Open a database as the store does for writing."""
    with databases.empty_database() as url:
        made = postgres.engine(url, writable=True)
        with made.connect() as connection:
            yield connection
        made.dispose()


def test_what_is_told_is_the_failure_and_not_what_it_kept_from_running(connection: Connection) -> None:
    """A conflict that is to be tried again would pass for an outage otherwise."""

    def divide() -> None:
        with connection.begin(), together(connection):
            for by in (1, 0, 2, 3):
                PART.one(connection, {"by": by})

    with pytest.raises(psycopg.errors.DivisionByZero):
        divide()
    with connection.begin(), together(connection):
        found = PART.one(connection, {"by": 5})
    assert found.rows() == [(2,)]


def test_what_follows_is_of_the_same_transaction(connection: Connection) -> None:
    """It began with the statements that were sent together, and ends with the block around."""
    connection.exec_driver_sql("CREATE TABLE said (word text)")
    connection.commit()

    def say() -> None:
        with connection.begin():
            with together(connection):
                PART.one(connection, {"by": 5})
            connection.exec_driver_sql("INSERT INTO said VALUES ('unsaid')")
            raise KeyError

    with pytest.raises(KeyError):
        say()
    with connection.begin():
        assert connection.exec_driver_sql("SELECT count(*) FROM said").scalar() == 0


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
