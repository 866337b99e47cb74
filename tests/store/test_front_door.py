"""The front door gives names alone, and loads those that need a library only when they are asked for."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import notifier.store


def test_the_front_door_gives_no_modules() -> None:
    """The room's files may be moved without a change elsewhere."""
    modules = [name for name in notifier.store.__all__ if isinstance(getattr(notifier.store, name), ModuleType)]
    assert not modules


def test_a_name_that_is_not_there_is_refused() -> None:
    """A name of the inside is none of the front door's."""
    with pytest.raises(AttributeError, match="'Writer'"):
        getattr(notifier.store, "Writer")  # noqa: B009  # as an import of it would


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("from notifier.store import DeliveryFilter, WatchRow", "sqlalchemy alembic psycopg"),
        ("from notifier.cli import main", "sqlalchemy alembic psycopg"),
        ("from notifier.store import Nodes, Store, migrate", "alembic psycopg"),
    ],
)
def test_libraries_are_loaded_where_they_are_used(statement: str, absent: str) -> None:
    """A command that asks a daemon needs no SQL, and SQLite no client of PostgreSQL."""
    loaded = f"{statement}; import sys; sys.exit(' '.join(set({absent.split()!r}) & set(sys.modules)) or None)"
    subprocess.run([sys.executable, "-c", loaded], check=True)
