"""The daemon's state for its readers: metrics, status, the line for systemd. It changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, cast

from notifier import __version__
from notifier.cluster import NodeReport, RowCounts, ThisNode
from notifier.config import QueueConfig
from notifier.core.callback import LABEL
from notifier.core.condition import Condition
from notifier.core.errors import StoreUnavailable
from notifier.core.model import Json, Micros, Phase
from notifier.core.mute import Mute
from notifier.core.payload import timestamp
from notifier.core.recent import Shares, together
from notifier.deliver import Dispatcher, EndpointDestination
from notifier.follow import Watcher
from notifier.inputs import Inputs
from notifier.runtime.metrics import Metrics
from notifier.store import Store
from notifier.web import answers

Statuses = Sequence[Mapping[str, Any]]  # of the living nodes
_OPEN = ("new", *(phase for phase in Phase if not phase.terminal))  # phases of watches that have not ended


class StatusReport:
    """Describes this node, and all nodes together."""

    def __init__(
        self,
        *,
        store: Store,
        metrics: Metrics,
        dispatcher: Dispatcher,
        watcher: Watcher,
        inputs: Inputs[QueueConfig],
        this: ThisNode,
        nodes: NodeReport,
        row_counts: RowCounts,
        clock: Callable[[], Micros],
        config: str,
    ) -> None:
        """Create it; `clock`: that of the rows' dates, `config`: the file's path."""
        self._store = store
        self._metrics = metrics
        self._dispatcher = dispatcher
        self._watcher = watcher
        self._inputs = inputs
        self._this = this
        self._nodes = nodes
        self._row_counts = row_counts
        self._clock = clock
        self._config = config
        self._started = time.monotonic()

    def line(self) -> str:
        """Return one line for `systemctl status`, from memory alone."""
        feeds, endpoints = self._watcher.feeds.values(), self._dispatcher.endpoints.values()
        text = (
            f"{sum(map(len, feeds))} watches, {sum(feed.open for feed in feeds)} streams open, "
            f"{sum(endpoint.in_flight for endpoint in endpoints)} deliveries under way"
        )
        states = self._nodes.states()
        if (alive := states["alive"] + states["leaving"]) > 1:
            text += f"; one of {alive} nodes"
        reason = self.not_ready()
        return text if reason is None else f"{reason}; {text}"

    def not_ready(self) -> str | None:
        """Return the reason why this node is not ready; None: it is."""
        return self._this.problem()

    def nodes(self) -> list[answers.NodeItem]:
        """List the nodes that share the store."""
        return cast(list[answers.NodeItem], self._nodes.items())

    def node_name(self, number: int) -> str:
        """Return the name of a node."""
        return self._nodes.name(number)

    async def metrics(self) -> bytes:
        """Return the Prometheus text, counts of rows included."""
        self._metrics.store_available.set(self._store.available)
        self._metrics.ready.set(self.not_ready() is None)
        self._metrics.node_watches.set(len(self._watcher))
        for state, count in self._nodes.states().items():
            self._metrics.nodes.labels(state).set(count)
        for endpoint in self._dispatcher.endpoints.values():
            endpoint.show()
        try:
            counts = await self._counts()
        except StoreUnavailable:
            return self._metrics.render()  # without the counts
        self._metrics.watches.clear()
        for source, phases in counts["watches"].items():
            for phase, count in phases.items():
                self._metrics.watches.labels(source, phase).set(count)
        for gauge in (self._metrics.pending, self._metrics.oldest, self._metrics.dead):
            gauge.clear()  # of endpoints that are gone
        for name in self._dispatcher.endpoints:
            pending = counts["pending"].get(name)
            self._metrics.pending.labels(name).set(pending["count"] if pending else 0)
            self._metrics.oldest.labels(name).set(self._age(pending))
            self._metrics.dead.labels(name).set(counts["dead"].get(name, 0))
        callbacks = self._callbacks(counts)
        if callbacks["enabled"] or callbacks["pending"] or callbacks["dead"]:
            self._metrics.pending.labels(LABEL).set(callbacks["pending"])
            self._metrics.oldest.labels(LABEL).set(callbacks["oldest_seconds"])
            self._metrics.dead.labels(LABEL).set(callbacks["dead"])
        return self._metrics.render()

    async def status(self) -> answers.DaemonStatus:
        """Describe this node at a glance, and the watches, streams and deliveries of all nodes."""
        counts, reason = await self._counts(), self.not_ready()
        statuses = self._nodes.statuses()
        return {
            "version": __version__,
            "node": self._this.name,
            "number": self._this.number,
            "nodes": len(statuses),
            "pid": os.getpid(),
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "ready": reason is None,
            "reason": reason,
            "config": self._config,
            "store": {"available": self._store.available},
            "sources": [
                {
                    "name": name,
                    "watches": counts["watches"].get(name, {}),
                    "following": _source_sum(statuses, name, 0),
                    "open": _source_sum(statuses, name, 1),
                    "waiting": _source_sum(statuses, name, 2),
                    "max_streams": feed.max_streams,
                    "troubles": _sums(_of(status, "troubles", name, {}) for status in statuses),
                    "errors": {k: v for status in statuses for k, v in _of(status, "errors", name, {}).items()},
                    "unknown_states": sorted({*chain(*(_of(each, "unknown_states", name, ()) for each in statuses))}),
                    "running_states": list(feed.source.settings.preset.states.get(Phase.RUNNING, ())),
                    "unheard": sum(_of(status, "unheard", name, 0) for status in statuses),
                    "lost_lately": counts["lost"].get(name, {}),
                }
                for name, feed in self._watcher.feeds.items()
            ],
            "without_source": self._without_source(counts, statuses),
            "endpoints": self._endpoints(counts, statuses),
            "callbacks": self._callbacks(counts),
            "archive": {"problem": next((told for status in statuses if (told := status.get("archive"))), None)},
            "mutes": mute_items(self._dispatcher.mutes.active),
            "queues": [{"name": name, "problem": problem} for name, problem in self._inputs.problems().items()],
        }

    async def left_over(self) -> dict[str, int]:
        """Count the open watches whose source no living node has, as they are right now. Raises StoreUnavailable."""
        return self._without_source(await self._row_counts.anew(), self._nodes.statuses())

    def _without_source(self, counts: Json, statuses: Statuses) -> dict[str, int]:
        named = {*self._watcher.feeds, *chain.from_iterable(status.get("sources", ()) for status in statuses)}
        opened = {name: sum(phases.get(phase, 0) for phase in _OPEN) for name, phases in counts["watches"].items()}
        return {name: count for name, count in sorted(opened.items()) if count and name not in named}

    async def pulse(self) -> Json:
        """Describe all nodes in short, with their rates, for the live stream."""
        counts, statuses = await self._counts(), self._nodes.statuses()
        return {
            "watches": counts["watches"],
            "endpoints": self._endpoints(counts, statuses),
            "nodes": self._nodes.items(),
            "streams_open": _sum(statuses, "streams"),
            "watches_waiting": sum(_source_sum(statuses, name, 2) for name in self._watcher.feeds),
            "lost_lately": sum(sum(counts["lost"].get(name, {}).values()) for name in self._watcher.feeds),
            "events_per_second": round(_sum(statuses, "events_per_second"), 1),
            "deliveries_per_second": round(_sum(statuses, "deliveries_per_second"), 1),
        }

    async def endpoints(self) -> list[answers.EndpointHealth]:
        """List endpoints with their health."""
        return self._endpoints(await self._counts(), self._nodes.statuses())

    async def _counts(self) -> Json:
        """Return counts of the store's rows. Raises StoreUnavailable."""
        return await self._row_counts.counts(self._nodes.statuses())

    def _endpoints(self, counts: Json, statuses: Statuses) -> list[answers.EndpointHealth]:
        return [self._endpoint(endpoint, counts, statuses) for endpoint in self._dispatcher.endpoints.values()]

    def _endpoint(self, endpoint: EndpointDestination, counts: Json, statuses: Statuses) -> answers.EndpointHealth:
        name = endpoint.name
        shares = _answers(statuses, name)
        state, reason = endpoint.condition(shares)
        return {
            "name": name,
            "state": state.value,
            "reason": endpoint.disabled_reason or reason or (endpoint.failure if state is Condition.FAILING else None),
            "in_flight": sum(_of(status, "endpoints", name, 0) for status in statuses),
            "in_flight_limit": endpoint.limit,
            "refused_share": round(shares.share, 4),
            "pending": counts["pending"].get(name, {}).get("count", 0),
            "oldest_seconds": self._age(counts["pending"].get(name)),
            "dead": counts["dead"].get(name, 0),
            "failing_since": _time(endpoint.failing_since),
            "next_attempt": _time(endpoint.next_attempt),
            "last_success": _time(endpoint.accepted_at),
            "last_failure": _time(endpoint.failed_at),
            "last_error": endpoint.failure,
        }

    def _callbacks(self, counts: Json) -> answers.CallbacksStatus:
        if LABEL in self._dispatcher.endpoints:  # an endpoint may have that name while callbacks are disabled
            counts = {"pending": {}, "dead": {}}
        pending = counts["pending"].get(LABEL)
        return {
            "enabled": self._dispatcher.callbacks.enabled,
            "pending": pending["count"] if pending else 0,
            "oldest_seconds": self._age(pending),
            "dead": counts["dead"].get(LABEL, 0),
        }

    def _age(self, pending: Json) -> float:
        return max(0.0, round((self._clock() - pending["oldest"]) / 1e6, 3)) if pending else 0.0


def _time(at: Micros | None) -> str | None:
    return None if at is None else timestamp(at)


def _sums(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add the counts of the same name."""
    total: dict[str, int] = {}
    for part in counts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def _of(status: Mapping[str, Any], part: str, name: str, default: Json) -> Json:
    """Return the value that a node reports for a source or an endpoint."""
    return status.get(part, {}).get(name, default)


def _source_sum(statuses: Statuses, name: str, place: int) -> int:
    """Add up one number that the nodes report for a source; an earlier version reports fewer of them."""
    numbers = (_of(status, "sources", name, ()) for status in statuses)
    return sum(each[place] for each in numbers if len(each) > place)


def _answers(statuses: Statuses, name: str) -> Shares:
    """Return what all nodes have counted of an endpoint's answers in the last minute."""
    counted = (_of(status, "answers", name, None) for status in statuses)
    return together(Shares(accepted=one[0], refused=one[1], reason=one[2]) for one in counted if one is not None)


def _sum(statuses: Statuses, key: str) -> float:
    return sum(status.get(key) or 0 for status in statuses)


def mute_items(mutes: Iterable[Mute]) -> list[answers.MuteItem]:
    """Describe mutes."""
    return [
        {
            "id": mute.id,
            "endpoint": mute.endpoint,
            "labels": dict(mute.labels),
            "until": timestamp(mute.until),
            "created_at": timestamp(mute.created_at),
            "comment": mute.comment,
        }
        for mute in mutes
    ]
