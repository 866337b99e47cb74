"""Rows reach PostgreSQL as arrays with every value as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import databases
import pytest

from notifier.store import postgres
from notifier.store.arrays import pack, packer

VALUES: dict[str, list[Any]] = {
    "bigint": [0, -1, 2**63 - 1, -(2**63), None],
    "text": ["", "a", 'quote " brace } comma , \\', "NULL", "\N{SNOWMAN}", None],
    "bytea": [b"", b"\0\xff", b"{}", None],
    "boolean": [True, False, None],
    "float8": [0.0, -1.5, 1e300, None],
}


@pytest.mark.parametrize("kind", VALUES)
def test_every_value_arrives_as_it_is(kind: str) -> None:
    """With and without nulls, empty ones, and those that an array's text form would have to quote."""
    values = VALUES[kind]
    with databases.empty_database() as url, postgres.PostgresEngine(url, writable=True).connect() as connection:
        raw = connection.raw
        for given in (values, values[:-1], [None], values[:1]):
            found = raw.pgconn.exec_params(b"SELECT $1::%b[]" % kind.encode(), [packer(kind)(given)], None, [1])
            assert _read(raw, found, f"{kind}[]") == given
        for value in values:
            found = raw.pgconn.exec_params(b"SELECT $1::%b" % kind.encode(), [pack(kind)(value)], None, [1])
            assert _read(raw, found, kind) == value


def _read(raw: Any, result: Any, kind: str) -> Any:
    """Return the one value of a result, as psycopg itself reads it from a text."""
    text = result.get_value(0, 0)
    return None if text is None else raw.execute(f"SELECT %s::{kind}", [text.decode()]).fetchone()[0]


@pytest.mark.parametrize("packs", [lambda value: packer("bigint")([1, value]), pack("bigint")])
def test_a_number_beyond_64_bits_is_refused(packs: Callable[[int], object]) -> None:
    """As the drivers refuse it: it is its own writer's fault."""
    with pytest.raises(OverflowError):
        packs(2**63)
