"""One input at work on a real store, and what it told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from waits import PATIENCE

from notifier import config as configuration
from notifier.config import Config
from notifier.core.model import NewWatch
from notifier.inputs.broker import Broker
from notifier.inputs.consumer import QueueInput
from notifier.store import Store

CONFIG = """
sources:
  vidu: {preset: vidu, base_url: http://127.0.0.1:9, token: t, default: true}
  other: {preset: vidu, base_url: http://127.0.0.1:9, token: t}
endpoints:
  app: {type: webhook, url: http://127.0.0.1:9/, secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]}
"""


class Tally:
    """Counts outcomes, and wakes those who wait for them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def __call__(self, outcome: str, count: int) -> None:
        self.counts[outcome] += count
        self._changed.set()

    async def wait(self, **least: int) -> None:
        """Return once each outcome was counted so often."""
        async with asyncio.timeout(PATIENCE):
            while any(self.counts[outcome] < count for outcome, count in least.items()):
                self._changed.clear()
                await self._changed.wait()


class Running:
    """One input at work."""

    def __init__(self, broker: Broker[Any], store: Store, config: Config) -> None:
        self.tally = Tally()
        self.applied: list[Sequence[NewWatch]] = []  # the batches, as they were committed
        self._store = store
        self.input: QueueInput[Any] = QueueInput(
            broker=broker,
            parse_watch=partial(configuration.parse_watch, config=config),
            apply=self._apply,
            remove=lambda source, task: store.watches.remove(source, task, now=2),
            counted=self.tally,
        )
        self.task = asyncio.create_task(self.input.run(), name="input under test")

    async def _apply(self, watches: Sequence[NewWatch]) -> None:
        await self._store.watches.apply(watches, origin="queue", now=1)
        self.applied.append(watches)

    async def stop(self) -> None:
        """End it; raise what it raised."""
        self.task.cancel()
        await asyncio.wait({self.task})
        assert self.task.cancelled()


class Start:
    """Starts inputs on one store."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._config = config
        self._running: list[Running] = []

    def __call__(self, broker: Broker[Any]) -> Running:
        running = Running(broker, self._store, self._config)
        self._running.append(running)
        return running

    async def stop(self) -> None:
        """Stop those that still run."""
        for each in self._running:
            if not each.task.done():
                await each.stop()
