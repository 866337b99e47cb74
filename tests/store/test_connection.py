"""One text of a statement means the same on both databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import databases
import pytest

from notifier.store import postgres, sqlite
from notifier.store.connection import Connection, RowExists

INSERT = "INSERT INTO things (id, name, kept) VALUES (:id, :name, false)"


@pytest.fixture(params=["sqlite", "postgresql"])
def connection(request: pytest.FixtureRequest, path: Path) -> Iterator[Connection]:
    """Connect to a database with one table."""
    if request.param == "sqlite":
        sqlite3.connect(path).close()
        with sqlite.SqliteEngine(path, writable=True).connect() as made:
            yield prepared(made)
    else:
        with databases.empty_database() as url, postgres.PostgresEngine(url, writable=True).connect() as made:
            yield prepared(made)


def prepared(connection: Connection) -> Connection:
    with connection.begin():
        connection.execute("CREATE TABLE things (id BIGINT PRIMARY KEY, name TEXT, kept BOOLEAN)")
        connection.execute(INSERT, [{"id": number, "name": f"{number}%"} for number in range(4)])
    return connection


def test_lists_have_any_length(connection: Connection) -> None:
    """None at all as well; and a list may stand beside other parameters."""
    find = "SELECT id FROM things WHERE id IN (:ids...) AND name <> :name ORDER BY id FOR UPDATE"
    for ids, found in (([], []), ([2], [2]), ([3, 1, 2, 9], [1, 2])):
        with connection.begin():
            assert connection.execute(find, {"ids": ids, "name": "3%"}).scalars() == found


def test_signs_of_the_drivers_are_none_of_a_statement(connection: Connection) -> None:
    """A percent sign is one, with parameters and without, and a pair of colons makes no parameter."""
    assert connection.execute("SELECT name FROM things WHERE name LIKE '2%' AND NOT kept").scalars() == ["2%"]
    query = "SELECT name || '%' AS shown FROM things WHERE id = :id AND kept = false"
    assert [row.shown for row in connection.execute(query, {"id": 1})] == ["1%%"]


def test_rows_are_counted_and_read_once(connection: Connection) -> None:
    """Of a statement for several rows, all that it changed."""
    with connection.begin():
        assert connection.execute("UPDATE things SET kept = true WHERE id > :id", {"id": 1}).count == 2
        assert connection.execute("DELETE FROM things WHERE id = :id", [{"id": 1}, {"id": 2}, {"id": 9}]).count == 2
        assert connection.execute("SELECT id FROM things WHERE id = 7").first() is None
        assert connection.execute("SELECT id FROM things WHERE id = 7").scalar() is None
        assert connection.execute("SELECT count(*) FROM things").scalar() == 2


@pytest.mark.parametrize("count", [0, 1, 3, 64, 200])
def test_many_rows_are_inserted_as_one_by_one(connection: Connection, count: int) -> None:
    """Each with what is the same for all, in few calls of SQLite's driver."""
    rows = [{"name": f":id {number}", "id": number} for number in range(100, 100 + count)]
    with connection.begin():
        assert max(connection.execute(INSERT, rows).count, 0) == count
    found = connection.execute("SELECT id, name, kept FROM things WHERE id > 99 ORDER BY id")
    assert [tuple(row) for row in found] == [(row["id"], row["name"], False) for row in rows]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("INSERT INTO things (id) VALUES (:id)", [4, 5]),
        ("INSERT INTO things (id, name) VALUES (:id, :name) ON CONFLICT (id) DO UPDATE SET name = :name", [4, 5]),
        ("DELETE FROM things WHERE id = :id - 4", []),
    ],
)
def test_other_statements_run_once_for_each_row(connection: Connection, statement: str, found: list[int]) -> None:
    """Also an insert of one value, or with parameters behind its row."""
    with connection.begin():
        assert connection.execute(statement, [{"id": 4, "name": "a"}, {"id": 5, "name": "b"}]).count == 2
    assert connection.execute("SELECT id FROM things WHERE id > 3 ORDER BY id").scalars() == found


def test_a_row_that_is_there_is_told_as_such(connection: Connection) -> None:
    """And nothing of its transaction stays; the connection does."""

    def insert() -> None:
        with connection.begin():
            connection.execute(INSERT, {"id": 8, "name": ""})
            connection.execute(INSERT, {"id": 1, "name": ""})

    def insert_both() -> None:
        with connection.begin():
            connection.execute(INSERT, [{"id": 8, "name": ""}, {"id": 1, "name": ""}])

    with pytest.raises(RowExists):
        insert()
    with pytest.raises(RowExists):
        insert_both()
    assert connection.execute("SELECT max(id) FROM things").scalar() == 3
