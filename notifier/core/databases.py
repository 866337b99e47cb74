"""Which database a URL names. SQLite serves one node; several nodes can share a database of PostgreSQL."""

from __future__ import annotations

POSTGRESQL = ("postgresql", "postgres")  # libpq takes both schemes, and hosting services hand out either


def is_shared(url: str) -> bool:
    """Return whether several nodes can work on the database of this URL."""
    return url.partition("://")[0].lower() in POSTGRESQL
