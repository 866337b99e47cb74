"""This node: its name, whether it is ready, and the status that its heartbeats tell the other nodes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from notifier.cluster.readiness import Readiness
from notifier.cluster.row_counts import RowCounts
from notifier.core.model import Json, Micros
from notifier.deliver import Dispatcher
from notifier.follow import Recorder, Trouble, Watcher
from notifier.runtime.counters import CounterFamily
from notifier.runtime.metrics import Metrics
from notifier.store import Store

MAX_WORDS = 500  # characters of an error that other nodes are told
MAX_STATES = 10  # unknown states of a source that other nodes are told
PACE = 1.0  # seconds over which a rate is measured, at least


class ThisNode:
    """Describes this node."""

    def __init__(
        self,
        *,
        name: str,
        timeout: float,
        started_at: Micros,
        store: Store,
        readiness: Readiness,
        dispatcher: Dispatcher,
        watcher: Watcher,
        metrics: Metrics,
        row_counts: RowCounts,
        recorder: Recorder,
    ) -> None:
        """Take the seconds without a heartbeat after which the others count it as dead (`timeout`)."""
        self.name = name
        self.timeout = timeout
        self.started_at = started_at
        self._store = store
        self._readiness = readiness
        self._dispatcher = dispatcher
        self._watcher = watcher
        self._metrics = metrics
        self._row_counts = row_counts
        self._recorder = recorder
        self._paced: tuple[float, float, float] | None = None  # when last measured; events, deliveries then
        self._rates = (0.0, 0.0)  # of events and deliveries a second

    @property
    def number(self) -> int:
        """Return its number; another one after it was declared dead."""
        return self._store.number

    def problem(self) -> str | None:
        """Return the reason why it is not ready; None: it is."""
        return self._readiness.problem(self._store)

    def status(self) -> Json:
        """Describe it for the other nodes. Bounded: a few words for each source and endpoint."""
        reason = self.problem()
        events, deliveries = self._pace()
        feeds, endpoints = self._watcher.feeds, self._dispatcher.endpoints.values()
        description = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "http": self._readiness.address,
            "ready": reason is None,
            "reason": reason,
            "watches": len(self._watcher),
            "streams": sum(feed.open for feed in feeds.values()),
            "deliveries": sum(endpoint.in_flight for endpoint in endpoints),
            "events_per_second": events,
            "deliveries_per_second": deliveries,
            "sources": {name: [len(feed), feed.open, feed.waiting] for name, feed in feeds.items()},
            "troubles": {name: dict(feed.troubles) for name, feed in feeds.items() if feed.troubles},
            "errors": {name: _errors(feed.trouble_words) for name, feed in feeds.items() if feed.troubles},
            "unheard": {name: feed.unheard for name, feed in feeds.items() if feed.unheard},
            "unknown_states": {
                name: sorted(states)[:MAX_STATES]
                for name, feed in feeds.items()
                if (states := feed.source.unknown_states)
            },
            "archive": self._recorder.archive_problem,
            "endpoints": {endpoint.name: endpoint.in_flight for endpoint in endpoints if endpoint.in_flight},
            "answers": {
                endpoint.name: [shares.accepted, shares.refused, shares.reason]
                for endpoint in endpoints
                if (shares := endpoint.shares).accepted or shares.refused
            },
        }
        shared = self._row_counts.shared
        return description if shared is None else description | {"counted": shared}

    def _pace(self) -> tuple[float, float]:
        """Return its events and deliveries per second since the last measurement."""
        now = (time.monotonic(), _total(self._metrics.events), _total(self._metrics.attempts, outcome="delivered"))
        before = self._paced or now
        seconds = now[0] - before[0]
        if self._paced is None or seconds >= PACE:
            self._paced = now
        if seconds >= PACE:
            self._rates = (round((now[1] - before[1]) / seconds, 1), round((now[2] - before[2]) / seconds, 1))
        return self._rates


def _errors(troubles: Mapping[str, Trouble]) -> Json:
    """Return the words for each kind of trouble, cut to a bounded length."""
    return {
        kind: {"error": trouble.error[:MAX_WORDS], "hint": trouble.hint, "excerpt": trouble.excerpt[:MAX_WORDS]}
        for kind, trouble in troubles.items()
    }


def _total(counter: CounterFamily, **labels: str) -> float:
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return sum(
        sample.value for sample in samples if sample.name.endswith("_total") and labels.items() <= sample.labels.items()
    )
