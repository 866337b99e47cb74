"""Makes brokers, loading the client library of each only when a queue of its kind is configured."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from notifier.core.errors import NotifierError
from notifier.inputs.broker import Broker


class MissingExtra(NotifierError):
    """A client library is not installed."""


def redis_broker(*, url: str, stream: str, group: str) -> Broker[Any]:
    """Return a Redis stream. Raises MissingExtra, or NotifierError for a URL that cannot be used."""
    broker: Broker[Any] = _load("redis", "redis").RedisBroker(url=url, stream=stream, group=group)
    return broker


def nats_broker(*, url: str, stream: str, subject: str, durable: str) -> Broker[Any]:
    """Return a NATS JetStream stream. Raises MissingExtra."""
    broker: Broker[Any] = _load("nats", "nats").NatsBroker(url=url, stream=stream, subject=subject, durable=durable)
    return broker


def amqp_broker(*, url: str, queue: str) -> Broker[Any]:
    """Return an AMQP queue. Raises MissingExtra, or NotifierError for a URL that cannot be used."""
    broker: Broker[Any] = _load("amqp", "aio_pika").AmqpBroker(url=url, queue=queue)
    return broker


def _load(kind: str, library: str) -> Any:
    try:
        import_module(library)
    except ModuleNotFoundError as exc:
        raise MissingExtra(
            f"a queue of the kind {kind} needs its client library: install notifier's extra '{kind}'"
        ) from exc
    return import_module(f"notifier.inputs.{kind}")
