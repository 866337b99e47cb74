"""The operations of a group commit, and their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from notifier.core.errors import StoreUnavailable
from notifier.core.model import Record, Watch
from notifier.store.connection import Connection
from notifier.store.values import Settlement

# Every operation says two things of itself. `hold`: while the database is away it waits, instead of failing. `owned`:
# it rests on a row that this node owns, so that another node must not repeat it.


@dataclass(frozen=True, slots=True, eq=False)
class CommitOp:
    """Save a watch's step and its events."""

    watch: Watch | None
    records: Sequence[Record]
    hold: bool = True

    @property
    def owned(self) -> bool:
        """Return whether it rests on a watch. Operators' events rest on nothing."""
        return self.watch is not None

    def forfeit(self, _result: object) -> object:
        """Return the result of a node that was lost after the commit: its deliveries are free for others."""
        return []


@dataclass(frozen=True, slots=True, eq=False)
class SettleOp:
    """Save the verdict on a delivery."""

    settlement: Settlement
    hold: bool = True
    owned: bool = True

    def forfeit(self, _result: object) -> object:
        """Return the result of a node that was lost after the commit: the next delivery is free for others."""
        return None


@dataclass(frozen=True, slots=True, eq=False)
class CallOp:
    """Call a function inside the transaction."""

    call: Callable[[Connection], object]
    hold: bool = False
    owned: bool = False
    left: Callable[[Any], object] | None = None  # makes the result of a lost node; None: the result stays as it is

    def forfeit(self, result: object) -> object:
        """Return the result of a node that was lost after the commit: rows that it took are free for others."""
        return result if self.left is None else self.left(result)


Operation = CommitOp | SettleOp | CallOp


@dataclass(frozen=True, slots=True)
class Committed:
    """The operation was committed."""

    result: object


@dataclass(frozen=True, slots=True)
class OperationFailed:
    """The operation failed for its own sake; nothing of it was committed."""

    error: Exception


@dataclass(frozen=True, slots=True)
class StoreAway:
    """The database could not be used; nothing was committed, unless the outcome is in doubt."""

    error: StoreUnavailable
    in_doubt: bool  # the database was lost during COMMIT: the next transaction finds out whether that succeeded


CommitOutcome = Committed | OperationFailed | StoreAway
