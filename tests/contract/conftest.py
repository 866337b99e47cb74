"""The databases that the store's contract is tried on; each test has its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from storing import running

from notifier.interfaces import Store


@pytest.fixture(params=["sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name a database of nobody else's."""
    match request.param:
        case "sqlite":
            return f"sqlite:///{tmp_path / 'notifier.db'}"
        case other:
            raise NotImplementedError(other)


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """Run a store on a new database."""
    async with running(store_url) as opened:
        yield opened
