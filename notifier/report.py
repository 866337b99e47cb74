"""What is told of the daemon: metrics, status, the line for systemd. Reads only."""

from __future__ import annotations

import os
import time

from prometheus_client import Counter

from notifier import __version__
from notifier.core.callback import LABEL
from notifier.core.errors import StoreUnavailable
from notifier.core.model import Json
from notifier.dispatcher import Dispatcher
from notifier.interfaces import Store
from notifier.metrics import Metrics
from notifier.watcher import Watcher

FRESH = 2.0  # seconds that a count of the store's rows serves for


class Report:
    """Counts what there is."""

    def __init__(self, *, store: Store, metrics: Metrics, dispatcher: Dispatcher, watcher: Watcher) -> None:
        self._store = store
        self._metrics = metrics
        self._dispatcher = dispatcher
        self._watcher = watcher
        self._started = time.monotonic()
        self._counted: tuple[float, Json] | None = None
        self._paced: tuple[float, float, float] | None = None  # when, events until then, deliveries until then

    def line(self) -> str:
        """Return one line for `systemctl status`, from memory alone."""
        feeds, queues = self._watcher.feeds.values(), self._dispatcher.queues.values()
        text = (
            f"{sum(map(len, feeds))} watches, {sum(feed.open for feed in feeds)} streams open, "
            f"{sum(queue.in_flight for queue in queues)} deliveries under way"
        )
        return text if self._store.available else f"the store cannot be written; {text}"

    async def metrics(self) -> bytes:
        """Return the Prometheus text, counts of rows included."""
        self._metrics.store_available.set(self._store.available)
        try:
            counts = await self._counts()
        except StoreUnavailable:
            return self._metrics.render()  # the rest is told all the same
        self._metrics.watches.clear()
        for source, phases in counts["watches"].items():
            for phase, count in phases.items():
                self._metrics.watches.labels(source, phase).set(count)
        for gauge in (self._metrics.pending, self._metrics.oldest, self._metrics.dead):
            gauge.clear()  # of endpoints that are gone
        for name in self._dispatcher.queues:
            pending = counts["pending"].get(name)
            self._metrics.pending.labels(name).set(pending["count"] if pending else 0)
            self._metrics.oldest.labels(name).set(_age(pending))
            self._metrics.dead.labels(name).set(counts["dead"].get(name, 0))
        callbacks = self._callbacks(counts)
        if callbacks["enabled"] or callbacks["pending"] or callbacks["dead"]:
            self._metrics.pending.labels(LABEL).set(callbacks["pending"])
            self._metrics.oldest.labels(LABEL).set(callbacks["oldest_seconds"])
            self._metrics.dead.labels(LABEL).set(callbacks["dead"])
        return self._metrics.render()

    async def status(self, *, ready: str | None, config: str, node: str) -> Json:
        """Describe the daemon at a glance."""
        counts = await self._counts()
        return {
            "version": __version__,
            "node": node,
            "pid": os.getpid(),
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "ready": ready is None,
            "reason": ready,
            "config": config,
            "store": {"available": self._store.available},
            "sources": [
                {"name": name, "watches": counts["watches"].get(name, {}), "following": len(feed), "open": feed.open}
                for name, feed in self._watcher.feeds.items()
            ],
            "endpoints": self._endpoints(counts),
            "callbacks": self._callbacks(counts),
        }

    async def pulse(self) -> Json:
        """Tell in short how things stand, and how fast they went since it was told last."""
        counts = await self._counts()
        now = (time.monotonic(), _total(self._metrics.events), _total(self._metrics.attempts, outcome="delivered"))
        before, self._paced = self._paced or now, now
        seconds = max(now[0] - before[0], 0.001)
        return {
            "watches": counts["watches"],
            "endpoints": self._endpoints(counts),
            "streams_open": sum(feed.open for feed in self._watcher.feeds.values()),
            "events_per_second": round((now[1] - before[1]) / seconds, 1),
            "deliveries_per_second": round((now[2] - before[2]) / seconds, 1),
        }

    async def endpoints(self) -> list[Json]:
        """List endpoints with their health."""
        return self._endpoints(await self._counts())

    def _endpoints(self, counts: Json) -> list[Json]:
        return [
            {
                "name": queue.name,
                "state": queue.breaker.state.value,
                "reason": queue.disabled_reason,
                "in_flight": queue.in_flight,
                "pending": counts["pending"].get(queue.name, {}).get("count", 0),
                "oldest_seconds": _age(counts["pending"].get(queue.name)),
                "dead": counts["dead"].get(queue.name, 0),
            }
            for queue in self._dispatcher.queues.values()
        ]

    def _callbacks(self, counts: Json) -> Json:
        if LABEL in self._dispatcher.queues:  # an endpoint goes by that name, as callbacks are switched off
            counts = {"pending": {}, "dead": {}}
        pending = counts["pending"].get(LABEL)
        return {
            "enabled": self._dispatcher.callbacks.enabled,
            "pending": pending["count"] if pending else 0,
            "oldest_seconds": _age(pending),
            "dead": counts["dead"].get(LABEL, 0),
        }

    async def _counts(self) -> Json:
        now = time.monotonic()
        if self._counted is None or now - self._counted[0] > FRESH:
            self._counted = now, await self._store.summary()
        return self._counted[1]


def _age(pending: Json) -> float:
    return max(0.0, round(time.time() - pending["oldest"] / 1e6, 3)) if pending else 0.0


def _total(counter: Counter, **labels: str) -> float:
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return sum(
        sample.value for sample in samples if sample.name.endswith("_total") and labels.items() <= sample.labels.items()
    )
