"""The metrics, by name.

The values of labels are bounded: names from the configuration and words of our own, never an id or a URL.
"""

from __future__ import annotations

import sys
from functools import partial

from prometheus_client.metrics import Gauge
from prometheus_client.registry import CollectorRegistry

from notifier import __version__
from notifier.runtime.counters import CounterFamily, HistogramFamily

COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
LATENCY_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    10.0,
    60.0,
    600.0,
    3600.0,
    86400.0,
)


class Metrics:
    """Every metric of one daemon, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(CounterFamily, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(HistogramFamily, registry=self.registry)
        self.watches = gauge("notifier_watches", "Watches that are wanted.", ["source", "phase"])
        self.streams_open = gauge("notifier_streams_open", "Subscriptions open now.", ["source"])
        self.stream_connects = counter(
            "notifier_stream_connects", "Attempts to open a subscription.", ["source", "outcome"]
        )
        self.polls = counter("notifier_polls", "Requests for the state of a task.", ["source", "outcome"])
        self.observations = counter("notifier_observations", "Reports read, repeats included.", ["source"])
        self.unreadable = counter("notifier_observations_unreadable", "Reports that could not be read.", ["source"])
        self.events = counter("notifier_events", "Events recorded.", ["type"])
        self.attempts = counter("notifier_delivery_attempts", "Tries at deliveries.", ["endpoint", "outcome"])
        self.pending = gauge("notifier_deliveries_pending", "Deliveries not settled.", ["endpoint"])
        self.dead = gauge("notifier_deliveries_dead", "Deliveries given up.", ["endpoint"])
        self.oldest = gauge("notifier_delivery_oldest_seconds", "Age of the oldest delivery not settled.", ["endpoint"])
        self.latency = histogram(
            "notifier_delivery_latency_seconds",
            "From an observation to the 2xx.",
            ["endpoint"],
            buckets=LATENCY_BUCKETS,
        )
        self.endpoint_state = gauge(
            "notifier_endpoint_state", "1 for the state that an endpoint is in.", ["endpoint", "state"]
        )
        self.endpoint_goodput = gauge(
            "notifier_endpoint_goodput", "Accepted attempts a second over the last minute.", ["endpoint"]
        )
        self.endpoint_refused_share = gauge(
            "notifier_endpoint_refused_share", "Share of refused attempts in the last minute.", ["endpoint"]
        )
        self.endpoint_in_flight_limit = gauge(
            "notifier_endpoint_in_flight_limit", "Attempts that may be in flight now.", ["endpoint"]
        )
        self.queue_messages = counter("notifier_queue_messages", "Messages read from queues.", ["queue", "outcome"])
        self.reload_success = gauge("notifier_reload_success", "Whether the last load of the configuration succeeded.")
        self.reload_timestamp = gauge("notifier_reload_timestamp_seconds", "When the running configuration was loaded.")
        self.store_available = gauge("notifier_store_available", "1 while the database can be written, else 0.")
        self.commit_seconds = histogram(
            "notifier_store_commit_seconds", "Time of a group commit.", buckets=COMMIT_BUCKETS
        ).labels()
        self.nodes = gauge("notifier_nodes", "Nodes that share the store.", ["state"])
        self.node_watches = gauge("notifier_node_watches", "Watches that this node follows.")
        self.ready = gauge("notifier_ready", "1 while /readyz says so, else 0.")
        self.build_info = gauge("notifier_build_info", "Always 1.", ["version", "python"])
        self.build_info.labels(version=__version__, python=".".join(map(str, sys.version_info[:3]))).set(1)

    def render(self) -> bytes:
        """Return the Prometheus text format."""
        from prometheus_client.exposition import generate_latest  # it loads two HTTP servers

        return generate_latest(self.registry)
