"""One input at work on a real store, and what it told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from waits import until

from notifier.config import Config, ConfigInForce
from notifier.core.model import NewWatch
from notifier.follow import Watcher
from notifier.inputs.broker import Broker
from notifier.inputs.consumer import QueueInput
from notifier.inputs.intake import Intake
from notifier.runtime.metrics import Metrics
from notifier.store import Store

CONFIG = """
sources:
  vidu: {preset: vidu, base_url: http://127.0.0.1:9, token: t, default: true}
  other: {preset: vidu, base_url: http://127.0.0.1:9, token: t}
endpoints:
  app: {type: webhook, url: http://127.0.0.1:9/, secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]}
"""


class Tally:
    """Reads the counted outcomes of one queue's messages."""

    def __init__(self, queue: str) -> None:
        self.metrics = Metrics()
        self._queue = queue

    @property
    def counts(self) -> Counter[str]:
        """Return how often each outcome was counted; none for the others."""
        counter = self.metrics.queue_messages
        counted = {
            sample.labels["outcome"]: int(sample.value)
            for metric in counter.collect()
            for sample in metric.samples
            if sample.name.endswith("_total") and sample.labels["queue"] == self._queue
        }
        return +Counter(counted)

    async def wait(self, **least: int) -> None:
        """Return once each outcome was counted so often."""
        await until(lambda: all(self.counts[outcome] >= count for outcome, count in least.items()), "messages")


class KeepingIntake(Intake):
    """An intake that keeps the batches that it has added."""

    def __init__(self, store: Store, config: Config) -> None:
        super().__init__(in_force=ConfigInForce(config), store=store, watcher=Watcher(store=store), clock=lambda: 1)
        self.applied: list[Sequence[NewWatch]] = []

    async def apply(self, watches: Sequence[NewWatch]) -> None:
        await super().apply(watches)
        self.applied.append(watches)


class Running:
    """One input at work."""

    def __init__(self, broker: Broker[Any], store: Store, config: Config) -> None:
        self.tally = Tally(broker.name)
        self.intake = KeepingIntake(store, config)
        self.input: QueueInput[Any] = QueueInput(broker=broker, intake=self.intake, metrics=self.tally.metrics)
        self.task = asyncio.create_task(self.input.run(), name="input under test")

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
