"""Fixtures of the store's tests: a path, short waits, and file permissions that bind root as well."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import own_server
from servers import NAME, Server
from structlog.testing import capture_logs
from structlog.typing import EventDict

from notifier.store import postgres, sqlite, writer

_CAPABILITY_VERSION_3 = 0x20080522
_OVERRIDES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, capabilities(7)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a database that is not there yet."""
    return tmp_path / "notifier.db"


@pytest.fixture
def url(path: Path) -> str:
    """Name it as the configuration does."""
    return f"sqlite:///{path}"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for locks and between tries as long as a test can, not as long as a daemon should."""
    monkeypatch.setattr(writer, "RETRY_DELAY", 0.02)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 50)


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Let permissions hold also where tests run as root: this thread, and those that it begins, override none."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, and the same of the higher half
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    before = sets[0]
    sets[0] = before & ~_OVERRIDES
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")
    yield
    sets[0] = before
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    """Start a PostgreSQL for the tests of a file, which leave it as they found it: running."""
    with own_server() as made:
        yield made


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """Hand out the server with a fresh database."""
    shared.query(f"CREATE DATABASE {NAME}")
    postgres.migrate(shared.url(NAME))
    yield shared
    shared.query(f"DROP DATABASE {NAME} WITH (FORCE)")


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EventDict]]:
    """Collect log lines, and shorten the pause between tries."""
    monkeypatch.setattr(writer, "RETRY_DELAY", 0.05)
    with capture_logs() as kept:
        yield kept
