"""Rows reach PostgreSQL as arrays with every value as it was."""

from __future__ import annotations

from typing import Any

import databases
import pytest
from sqlalchemy import ARRAY, BigInteger, Boolean, Float, Integer, LargeBinary, Text, bindparam, select
from sqlalchemy.types import TypeEngine

from notifier.store import postgres
from notifier.store.arrays import packer
from notifier.store.prepared import AtOnce

VALUES: list[tuple[TypeEngine[Any], list[Any]]] = [
    (BigInteger(), [0, -1, 2**63 - 1, -(2**63), None]),
    (Integer(), [0, 200, -1, None]),
    (Text(), ["", "a", 'quote " brace } comma , \\', "NULL", "\N{SNOWMAN}", None]),
    (LargeBinary(), [b"", b"\0\xff", b"{}", None]),
    (Boolean(), [True, False, None]),
    (Float(), [0.0, -1.5, 1e300, None]),
]


@pytest.mark.parametrize(("kind", "values"), VALUES, ids=[type(kind).__name__ for kind, _ in VALUES])
def test_every_value_arrives_as_it_is(kind: TypeEngine[Any], values: list[Any]) -> None:
    """With and without nulls, empty ones, and those that an array's text form would have to quote."""
    statement = AtOnce(select(bindparam("value", type_=ARRAY(kind))))
    with databases.empty_database() as url:
        made = postgres.engine(url, writable=True)
        with made.connect() as connection:
            for given in (values, values[:-1], [None], values[:1]):
                [(found,)] = statement.run(connection, [{"value": value} for value in given]).rows()
                assert found == given
        made.dispose()


@pytest.mark.parametrize("kind", [BigInteger(), Integer()])
def test_a_number_beyond_64_bits_is_refused(kind: TypeEngine[Any]) -> None:
    """As the drivers refuse it: it is its own writer's fault."""
    with pytest.raises(OverflowError):
        packer(kind)([1, 2**63])
