"""What a group commit is made of, and what it asks of whoever knows the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sqlalchemy import Connection


class Operation(Protocol):
    """Something to do inside a transaction."""

    @property
    def hold(self) -> bool:
        """Say whether it waits while the database is away, instead of failing."""
        ...

    @property
    def owned(self) -> bool:
        """Say whether it rests on what the node owns: another node must not do it again."""
        ...

    def forfeit(self, result: object) -> object:
        """Return what is left of its result if the node was taken for dead after the commit: nothing that it took."""
        ...


class Transact(Protocol):
    """Runs a group inside a transaction that the caller begins and commits."""

    def __call__(self, connection: Connection, operations: Sequence[Operation]) -> list[object]:
        """Return a result, or an exception, for each operation."""
        ...

    @property
    def doubtful(self) -> bool:
        """Say whether a COMMIT that failed may have come true all the same."""
        ...

    def rolled_back(self) -> None:
        """Take note that the transaction came to nothing."""
        ...

    def landed(self, connection: Connection) -> bool:
        """Say whether the last transaction was committed, though the answer to that was not heard."""
        ...

    def rejoin(self, connection: Connection) -> Callable[[], None]:
        """Begin anew, after NodeLost was raised; what is returned is to be called once that is committed."""
        ...
