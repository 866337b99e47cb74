"""Daemons for tests; none outlives its test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import databases
import pytest
from daemon_process import PYTHON, Daemon, Fields, Start
from servers import Server


@pytest.fixture
async def daemons(tmp_path: Path) -> AsyncIterator[Start]:
    """Return a maker of daemons, not started yet; those of one `name` share a directory."""

    def make(
        settings: Fields, *, name: str = "d", env: dict[str, str] | None = None, python: Sequence[str] = PYTHON
    ) -> Daemon:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        daemon = Daemon(directory, settings, env=env or {}, python=python)
        ends.push_async_callback(daemon.kill)
        return daemon

    async with AsyncExitStack() as ends:  # the end of one that fails keeps no other from its own
        yield make


@pytest.fixture
def server() -> Iterator[Server]:
    """Start a PostgreSQL of the test's own, to be stopped and started."""
    with databases.own_server() as made:
        yield made
