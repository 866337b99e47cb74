"""The scheme of a URL tells whether several nodes can share its database."""

from __future__ import annotations

import pytest

from notifier.core.databases import is_shared


@pytest.mark.parametrize(
    ("url", "shared"),
    [
        ("postgresql://db.example/notifier", True),
        ("postgres://db.example/notifier", True),
        ("PostgreSQL:///notifier", True),  # schemes have no case (RFC 3986, section 3.1)
        ("sqlite:///./postgresql.db", False),
        ("sqlite:////var/lib/postgres://x", False),
        ("postgresqlite:///x", False),
    ],
)
def test_postgresql_is_shared(url: str, shared: bool) -> None:
    """Both of libpq's schemes count, in any case; nothing behind the scheme does."""
    assert is_shared(url) is shared
