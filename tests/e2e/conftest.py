"""Daemons for tests, none of which outlives its test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from daemon_process import PYTHON, Daemon, Fields, Start


@pytest.fixture
async def daemons(tmp_path: Path) -> AsyncIterator[Start]:
    """Return a maker of daemons, not started yet; those of one `name` share a directory."""
    made: list[Daemon] = []

    def make(
        settings: Fields, *, name: str = "d", env: dict[str, str] | None = None, python: Sequence[str] = PYTHON
    ) -> Daemon:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        daemon = Daemon(directory, settings, env=env or {}, python=python)
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        await daemon.kill()
