"""The meaning of a database's error: the database is away, another transaction goes first, or the statement is wrong.

Told by the names of PEP 249, which all drivers share, and by names of PostgreSQL's conditions.
"""

from __future__ import annotations

import re

CONFLICTS = frozenset({"DeadlockDetected", "SerializationFailure"})  # PostgreSQL: another transaction goes first
OUTAGES = frozenset(
    {
        "OperationalError",
        "InterfaceError",
        "ReadOnlySqlTransaction",
        "IdleInTransactionSessionTimeout",
        "InsufficientPrivilege",  # for example, a file whose permissions were taken away
        "DataCorrupted",
        "IndexCorrupted",
    }
)

_USER = re.compile(r'\b(user|role) "[^"]*"')


def is_outage(exc: BaseException) -> bool:
    """Return whether the database is at fault, not the statement: full, locked, read-only, gone, damaged."""
    names = {kind.__name__ for kind in type(exc).__mro__}
    return bool(names & OUTAGES) or type(exc).__name__ == "DatabaseError"


def is_conflict(exc: BaseException) -> bool:
    """Return whether the same transaction may succeed when it is repeated."""
    return type(exc).__name__ in CONFLICTS


def reason(exc: BaseException) -> str:
    """Return the driver's message in one line, without a user's name."""
    return _USER.sub(r"\1 <secret>", " ".join(str(exc).split()))
