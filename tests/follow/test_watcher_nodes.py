"""The watcher of one node among several: what others change of its watches reaches it, however it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import databases
import pytest
from parts import Rig
from store_rig import T0, running, wanted
from waits import until

from notifier.follow.watcher import LOOK, Watcher
from notifier.store import Store
from notifier.tools.simulator import Simulator
from notifier.tools.transcript import Transcript


@pytest.fixture
def url() -> Iterator[str]:
    """Make a database."""
    with databases.database() as made:
        yield made


@pytest.fixture
async def other(url: str) -> AsyncIterator[Store]:
    """Run the store of another node."""
    async with running(url) as opened:
        yield opened


async def test_what_was_changed_unheard_is_taken_over_too(url: str, other: Store, tmp_path: Path) -> None:
    """Of more watches than a message can name, or while nothing could be heard: then of all."""
    ids = [str(number) for number in range(LOOK + 10)]
    async with running(url) as store, Simulator(transcript=Transcript(snapshots=())) as sim:
        made = Rig(store, tmp_path, lambda: 0.5)
        watcher = made.watcher = Watcher(store=store, nodes=store.nodes)
        await store.watches.apply([wanted(name, labels={"is": "old"}) for name in ids], origin="api", now=T0)
        source = made.source(sim)
        watcher.set_feeds({"vidu": made.feed(source)})
        loop = asyncio.create_task(watcher.run(), name="watcher")
        try:
            await until(lambda: len(watcher) == len(ids))
            await other.watches.apply([wanted(name, labels={"is": "new"}) for name in ids[1:]], origin="file", now=T0)
            await other.watches.remove("vidu", ids[0], now=T0)
            watcher.look(None)
            await until(
                lambda: (
                    [watch.labels for watch in watcher.feeds["vidu"].followed.watches()]
                    == [{"is": "new"}] * (len(ids) - 1)
                )
            )
        finally:
            loop.cancel()
            await asyncio.wait({loop})
            await source.close()
