"""What is told of the daemon: metrics, status, the line for systemd. Reads only."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import Counter

from notifier import __version__
from notifier.cluster.peers import Identity, Neighbours
from notifier.cluster.row_counts import Counting
from notifier.core.callback import LABEL
from notifier.core.errors import StoreUnavailable
from notifier.core.model import Json, Micros
from notifier.deliver.dispatcher import Dispatcher
from notifier.follow.watcher import Watcher
from notifier.runtime.metrics import Metrics
from notifier.store.store import Store
from notifier.store.values import NodeList

Statuses = Sequence[Mapping[str, Any]]  # of the nodes that live

PACE = 1.0  # seconds that a rate is measured over, at least


class Report:
    """Tells what there is."""

    def __init__(
        self,
        *,
        store: Store,
        metrics: Metrics,
        dispatcher: Dispatcher,
        watcher: Watcher,
        identity: Identity,
        clock: Callable[[], Micros],
        census: Callable[[], NodeList | None],
    ) -> None:
        """Make ready; `census` tells of the nodes that share the store, None if there is no other."""
        self._store = store
        self._metrics = metrics
        self._dispatcher = dispatcher
        self._watcher = watcher
        self._identity = identity
        self._neighbours = Neighbours(identity, clock=clock, itself=self.itself, census=census)
        self._counting = Counting(store.summary, clock=clock, told=self._neighbours.statuses)
        self._started = time.monotonic()
        self._paced: tuple[float, float, float] | None = None  # when, events until then, deliveries until then
        self._rates = (0.0, 0.0)  # of events and deliveries a second

    def line(self) -> str:
        """Return one line for `systemctl status`, from memory alone."""
        feeds, queues = self._watcher.feeds.values(), self._dispatcher.queues.values()
        text = (
            f"{sum(map(len, feeds))} watches, {sum(feed.open for feed in feeds)} streams open, "
            f"{sum(queue.in_flight for queue in queues)} deliveries under way"
        )
        states = self._neighbours.states()
        if (alive := states["alive"] + states["leaving"]) > 1:
            text += f"; one of {alive} nodes"
        missing = self._identity.ready()
        return text if missing is None else f"{missing}; {text}"

    def nodes(self) -> list[Json]:
        """List the nodes that share the store."""
        return self._neighbours.told()

    def node_name(self, number: int) -> str:
        """Return what a node is called."""
        return self._neighbours.name(number)

    def itself(self) -> Json:
        """Tell of this node alone, as the others are to know it. Bounded: a few words for each source and endpoint."""
        missing = self._identity.ready()
        events, deliveries = self._pace()
        feeds, queues = self._watcher.feeds, self._dispatcher.queues.values()
        told = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "http": self._identity.http(),
            "ready": missing is None,
            "reason": missing,
            "watches": len(self._watcher),
            "streams": sum(feed.open for feed in feeds.values()),
            "deliveries": sum(queue.in_flight for queue in queues),
            "events_per_second": events,
            "deliveries_per_second": deliveries,
            "sources": {name: [len(feed), feed.open] for name, feed in feeds.items() if len(feed)},
            "endpoints": {queue.name: queue.in_flight for queue in queues if queue.in_flight},
        }
        shared = self._counting.shared
        return told if shared is None else told | {"counted": shared}

    async def metrics(self) -> bytes:
        """Return the Prometheus text, counts of rows included."""
        self._metrics.store_available.set(self._store.available)
        self._metrics.ready.set(self._identity.ready() is None)
        self._metrics.node_watches.set(len(self._watcher))
        for state, count in self._neighbours.states().items():
            self._metrics.nodes.labels(state).set(count)
        try:
            counts = await self._counting.counts()
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

    async def status(self, *, config: str) -> Json:
        """Describe this node at a glance, and all watches, streams and deliveries, whoever works on them."""
        counts, missing = await self._counting.counts(), self._identity.ready()
        statuses = self._neighbours.statuses()
        return {
            "version": __version__,
            "node": self._identity.name,
            "number": self._identity.number(),
            "nodes": len(statuses),
            "pid": os.getpid(),
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "ready": missing is None,
            "reason": missing,
            "config": config,
            "store": {"available": self._store.available},
            "sources": [
                {
                    "name": name,
                    "watches": counts["watches"].get(name, {}),
                    "following": sum(_of(status, "sources", name, [0, 0])[0] for status in statuses),
                    "open": sum(_of(status, "sources", name, [0, 0])[1] for status in statuses),
                }
                for name in self._watcher.feeds
            ],
            "endpoints": self._endpoints(counts, statuses),
            "callbacks": self._callbacks(counts),
        }

    async def pulse(self) -> Json:
        """Tell in short how things stand on all nodes, and how fast they go."""
        counts, statuses = await self._counting.counts(), self._neighbours.statuses()
        return {
            "watches": counts["watches"],
            "endpoints": self._endpoints(counts, statuses),
            "nodes": self._neighbours.told(),
            "streams_open": _sum(statuses, "streams"),
            "events_per_second": round(_sum(statuses, "events_per_second"), 1),
            "deliveries_per_second": round(_sum(statuses, "deliveries_per_second"), 1),
        }

    async def endpoints(self) -> list[Json]:
        """List endpoints with their health."""
        return self._endpoints(await self._counting.counts(), self._neighbours.statuses())

    def _endpoints(self, counts: Json, statuses: Statuses) -> list[Json]:
        return [
            {
                "name": queue.name,
                "state": queue.breaker.state.value,
                "reason": queue.disabled_reason,
                "in_flight": sum(_of(status, "endpoints", queue.name, 0) for status in statuses),
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

    def _pace(self) -> tuple[float, float]:
        """Measure how many events and deliveries a second there were on this node since it was measured last."""
        now = (time.monotonic(), _total(self._metrics.events), _total(self._metrics.attempts, outcome="delivered"))
        before = self._paced or now
        seconds = now[0] - before[0]
        if self._paced is None or seconds >= PACE:
            self._paced = now
        if seconds >= PACE:
            self._rates = (round((now[1] - before[1]) / seconds, 1), round((now[2] - before[2]) / seconds, 1))
        return self._rates


def _of(status: Mapping[str, Any], part: str, name: str, nothing: Json) -> Json:
    """Return what a node tells of a source or an endpoint."""
    return status.get(part, {}).get(name, nothing)


def _sum(statuses: Statuses, key: str) -> float:
    return sum(status.get(key) or 0 for status in statuses)


def _age(pending: Json) -> float:
    return max(0.0, round(time.time() - pending["oldest"] / 1e6, 3)) if pending else 0.0


def _total(counter: Counter, **labels: str) -> float:
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return sum(
        sample.value for sample in samples if sample.name.endswith("_total") and labels.items() <= sample.labels.items()
    )
