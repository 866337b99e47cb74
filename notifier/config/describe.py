"""Describes a configuration in lines for people. They hold no secret, and of each URL only the origin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from notifier.config.chat import AppriseEndpoint, SlackEndpoint
from notifier.config.endpoint import EndpointConfig, WebhookEndpoint
from notifier.config.model import Config
from notifier.config.queue import AmqpQueue, NatsQueue, QueueConfig, RedisQueue
from notifier.config.settings import CallbacksConfig, HttpConfig
from notifier.config.source import SourceConfig
from notifier.config.types import write_duration, write_size


def describe(config: Config) -> list[str]:
    """Return a summary and a line for each source, endpoint, queue and section."""
    return list(_lines(config))


def _lines(config: Config) -> Iterator[str]:
    yield ", ".join(
        [
            _count(len(config.sources), "source"),
            _count(len(config.endpoints), "endpoint"),
            _count(len(config.watches), "watch", "watches"),
            _count(len(config.queues), "queue"),
        ]
    )
    watched = Counter(watch.source for watch in config.watches)
    for name, source in config.sources.items():
        yield f"source {name}: {_source(source)}, {_count(watched[name], 'watch', 'watches')}" + (
            " (default)" if name == config.default_source else ""
        )
    for name, endpoint in config.endpoints.items():
        yield f"endpoint {name}: {_endpoint(endpoint)}"
    for queue in config.queues:
        yield f"queue: {_queue(queue)}"
    yield f"store: {config.store.url.origin}, finished watches kept for {write_duration(config.store.retention)}"
    if config.store.url.shared:
        name = config.node.name or "named as its host"
        yield f"node: {name}, taken for dead after {write_duration(config.node.timeout)} of silence"
    yield f"http: {_http(config.http)}"
    if config.heartbeat.url is not None:
        yield f"heartbeat: GET {config.heartbeat.url.origin} every {write_duration(config.heartbeat.every)}"
    if config.archive.to is not None:
        yield f"archive: results of up to {write_size(config.archive.max_bytes)} in {config.archive.to}"
    if config.callbacks.enabled:
        yield f"callbacks: {_callbacks(config.callbacks)}"


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def _source(source: SourceConfig) -> str:
    credential = "with a token" if source.token else "without a token"
    twin = "" if source.description.twin is None else f" or polls by {source.description.poll_twin}"
    how = source.description.transport + twin
    return f"preset {source.preset}, {source.description.origin}, {how}, {credential}"


def _endpoint(endpoint: EndpointConfig) -> str:
    match endpoint:
        case WebhookEndpoint():
            signed = "unsigned" if endpoint.signature == "none" else _count(len(endpoint.secrets), "secret")
            kind = f"webhook to {endpoint.origin}, {signed}"
        case SlackEndpoint(token=None):
            kind = f"{endpoint.service} at {endpoint.origin}"
        case SlackEndpoint():
            kind = f"slack at {endpoint.origin}, a bot in {endpoint.channel}"
        case AppriseEndpoint():
            kind = f"apprise by {endpoint.origin}"
    return f"{kind}, {', '.join(endpoint.events)}, {_condition(endpoint)}"


def _condition(endpoint: EndpointConfig) -> str:
    if endpoint.match is None:
        return "of all watches"
    terms = [f"source {endpoint.match.source}"] if endpoint.match.source else []
    terms += [f"{key}={value}" for key, value in endpoint.match.labels.items()]
    return f"of watches with {', '.join(terms)}" if terms else "of all watches"


def _queue(queue: QueueConfig) -> str:
    match queue:
        case RedisQueue():
            return f"{queue.url.origin}, stream {queue.stream}, group {queue.group}"
        case NatsQueue():
            return f"{queue.url.origin}, stream {queue.stream}, subject {queue.subject}, durable {queue.durable}"
        case AmqpQueue():
            return f"{queue.url.origin}, queue {queue.queue}"


def _callbacks(callbacks: CallbacksConfig) -> str:
    schemes = "https or http" if callbacks.allow_http else "https"
    networks = f", and to {', '.join(map(str, callbacks.allow_networks))}" if callbacks.allow_networks else ""
    return f"to {', '.join(callbacks.allow_hosts)} by {schemes}, public addresses only{networks}"


def _http(http: HttpConfig) -> str:
    if http.listen is None:
        return "no listener"
    return f"{http.listen}, {'with' if http.token else 'without'} a token"
