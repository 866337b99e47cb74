"""A node that is declared dead at the worst moment: between two transactions of one group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from statements import before_transactions

from notifier.store import Store
from notifier.store.node import leave


@contextmanager
def buried_in_between(dying: Store, undertaker: Store, *, before: Callable[[], bool]) -> Iterator[None]:
    """Let another node take over everything before the first transaction of `dying` for which `before()` is true."""
    number = dying.number
    done: list[int] = []

    def bury_now() -> None:
        if not done and before():
            done.append(number)
            with undertaker._database.writing.begin() as connection:
                assert leave(connection, number)

    with before_transactions(dying._database.writing, bury_now):
        yield
        assert done
