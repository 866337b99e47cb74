"""What an error of a database means: that it is away, another transaction goes first, or it is at fault itself.

By the names of PEP 249, which the drivers share, and by those of PostgreSQL's conditions that say something else.
"""

from __future__ import annotations

import re

from sqlalchemy.exc import DBAPIError

from notifier.core.errors import StoreUnavailable

CONFLICTS = frozenset({"DeadlockDetected", "SerializationFailure"})  # PostgreSQL: another transaction goes first
OUTAGES = frozenset(
    {
        "OperationalError",
        "InterfaceError",
        "ReadOnlySqlTransaction",
        "IdleInTransactionSessionTimeout",
        "InsufficientPrivilege",  # as of a file whose permissions were taken away
        "DataCorrupted",
        "IndexCorrupted",
    }
)

_USER = re.compile(r'\b(user|role) "[^"]*"')


class InDoubt(StoreUnavailable):
    """The database was lost in COMMIT: whether that came true is not known yet."""


def is_outage(exc: BaseException) -> bool:
    """Say whether the database is at fault, and not the statement: full, locked, read-only, gone, damaged."""
    if isinstance(exc, DBAPIError) and exc.connection_invalidated:
        return True
    cause = getattr(exc, "orig", exc)
    names = {kind.__name__ for kind in type(cause).__mro__}
    return bool(names & OUTAGES) or type(cause).__name__ == "DatabaseError"


def is_conflict(exc: BaseException) -> bool:
    """Say whether the same again would do."""
    return type(getattr(exc, "orig", exc)).__name__ in CONFLICTS


def reason(exc: BaseException) -> str:
    """Say in one line what the driver said, without a user's name."""
    said = " ".join(str(getattr(exc, "orig", exc)).split())
    return _USER.sub(r"\1 <secret>", said)
