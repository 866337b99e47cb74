"""What tests of inputs share: a real store, a place for each broker, inputs that end with their test."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from broker_ways import Proxy
from input_rig import CONFIG, Start
from queue_places import KINDS, Place

from notifier import config as configuration
from notifier.config import Config
from notifier.store import Store, sqlite, writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the database."""
    return tmp_path / "notifier.db"


@pytest.fixture
async def store(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """Return a store that gives up waiting for a lock as soon as a test wants it to."""
    monkeypatch.setattr(writer, "RETRY_DELAY", 0.02)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 50)
    opened = Store.open(f"sqlite:///{path}")
    running = asyncio.create_task(opened.run())
    yield opened
    await opened.close()
    await running
    opened.shutdown()


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Return a configuration with two sources, one of them the default."""
    file = tmp_path_factory.mktemp("inputs") / "config.yaml"
    file.write_text(CONFIG)
    return configuration.load(file, env={})


@pytest.fixture
async def start(store: Store, config: Config) -> AsyncIterator[Start]:
    """Return what starts inputs."""
    starting = Start(store, config)
    yield starting
    await starting.stop()
    gc.collect()  # a connection left open warns now, and fails the test that left it


@pytest.fixture(params=list(KINDS))
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """Return a queue on each kind of broker."""
    made = KINDS[request.param]()
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def proxy(place: Place) -> AsyncIterator[Proxy]:
    """Return a way to the broker that can be cut."""
    between = Proxy(place.url)
    await between.open()
    yield between
    await between.close()


@pytest.fixture
def events() -> Iterator[list[Any]]:
    """Record what is logged."""
    with structlog.testing.capture_logs() as captured:
        yield captured
