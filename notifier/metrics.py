"""The metrics, by name.

Labels are bounded: names from the configuration and words from our own tables, never an id or a URL.
"""

from __future__ import annotations

import sys

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from notifier import __version__

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
        registry = self.registry = CollectorRegistry()
        self.watches = Gauge("notifier_watches", "Watches that are wanted.", ["source", "phase"], registry=registry)
        self.streams_open = Gauge("notifier_streams_open", "Subscriptions open now.", ["source"], registry=registry)
        self.stream_connects = Counter(
            "notifier_stream_connects", "Attempts to open a subscription.", ["source", "outcome"], registry=registry
        )
        self.observations = Counter(
            "notifier_observations", "Reports read, repeats included.", ["source"], registry=registry
        )
        self.unreadable = Counter(
            "notifier_observations_unreadable", "Reports that could not be read.", ["source"], registry=registry
        )
        self.events = Counter("notifier_events", "Events recorded.", ["type"], registry=registry)
        self.attempts = Counter(
            "notifier_delivery_attempts", "Tries at deliveries.", ["endpoint", "outcome"], registry=registry
        )
        self.pending = Gauge("notifier_deliveries_pending", "Deliveries not settled.", ["endpoint"], registry=registry)
        self.dead = Gauge("notifier_deliveries_dead", "Deliveries given up.", ["endpoint"], registry=registry)
        self.oldest = Gauge(
            "notifier_delivery_oldest_seconds",
            "Age of the oldest delivery not settled.",
            ["endpoint"],
            registry=registry,
        )
        self.latency = Histogram(
            "notifier_delivery_latency_seconds",
            "From an observation to the 2xx.",
            ["endpoint"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.endpoint_state = Gauge(
            "notifier_endpoint_state",
            "1 for the state that an endpoint is in.",
            ["endpoint", "state"],
            registry=registry,
        )
        self.queue_messages = Counter(
            "notifier_queue_messages", "Messages read from queues.", ["queue", "outcome"], registry=registry
        )
        self.reload_success = Gauge(
            "notifier_reload_success", "Whether the last load of the configuration succeeded.", registry=registry
        )
        self.reload_timestamp = Gauge(
            "notifier_reload_timestamp_seconds", "When the running configuration was loaded.", registry=registry
        )
        self.store_available = Gauge(
            "notifier_store_available", "1 while the database can be written, else 0.", registry=registry
        )
        self.commit_seconds = Histogram(
            "notifier_store_commit_seconds", "Time of a group commit.", buckets=COMMIT_BUCKETS, registry=registry
        )
        self.nodes = Gauge("notifier_nodes", "Nodes that share the store.", ["state"], registry=registry)
        self.node_watches = Gauge("notifier_node_watches", "Watches that this node follows.", registry=registry)
        self.ready = Gauge("notifier_ready", "1 while /readyz says so, else 0.", registry=registry)
        self.build_info = Gauge("notifier_build_info", "Always 1.", ["version", "python"], registry=registry)
        self.build_info.labels(version=__version__, python=".".join(map(str, sys.version_info[:3]))).set(1)

    def render(self) -> bytes:
        """Return the Prometheus text format."""
        return generate_latest(self.registry)
