"""Queues that watches are read from. The scheme of the URL decides which keys a queue has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from notifier.config.problems import below, carry, detail, got, invalid, refusal, suggest
from notifier.config.secret import SecretUrl, server
from notifier.config.section import Context, Section
from notifier.config.types import Printable

_OF = {
    "stream": "redis and nats queues", "group": "redis queues", "subject": "nats queues", "durable": "nats queues",
    "queue": "amqp queues",
}  # fmt: skip


def _elsewhere(*own: str) -> dict[str, str]:
    return {key: f"belongs to {kind}; the url names another kind" for key, kind in _OF.items() if key not in own}


QueueUrl = Annotated[SecretUrl, AfterValidator(server)]


class RedisQueue(Section):
    """A Redis stream, read as a consumer group."""

    elsewhere: ClassVar[dict[str, str]] = _elsewhere("stream", "group")

    url: QueueUrl = Field(description="redis:// or rediss://")
    stream: Printable = Field(default="notifier:watches", description="key of the stream")
    group: Printable = Field(default="notifier", description="consumer group; made where there is none")


class NatsQueue(Section):
    """A NATS JetStream stream, read by a durable consumer."""

    elsewhere: ClassVar[dict[str, str]] = _elsewhere("stream", "subject", "durable")

    url: QueueUrl = Field(description="nats:// or tls://")
    stream: Printable = Field(default="NOTIFIER", description="name of the stream")
    subject: Printable = Field(default="notifier.watches", description="subject that watches are published to")
    durable: Printable = Field(default="notifier", description="name of the durable consumer")


class AmqpQueue(Section):
    """An AMQP 0-9-1 queue, for example RabbitMQ's."""

    elsewhere: ClassVar[dict[str, str]] = _elsewhere("queue")

    url: QueueUrl = Field(description="amqp:// or amqps://")
    queue: Printable = Field(default="notifier.watches", description="name of the queue")


QueueConfig = RedisQueue | NatsQueue | AmqpQueue
SCHEMES: dict[str, type[RedisQueue] | type[NatsQueue] | type[AmqpQueue]] = {
    "redis": RedisQueue, "rediss": RedisQueue, "nats": NatsQueue, "tls": NatsQueue,
    "amqp": AmqpQueue, "amqps": AmqpQueue
}  # fmt: skip


_URL: TypeAdapter[SecretUrl] = TypeAdapter(SecretUrl)


def read_queue(value: Any, *, context: Context) -> QueueConfig:
    """Read a queue with the model that its URL's scheme names. Raises pydantic.ValidationError."""
    if not isinstance(value, Mapping):
        raise refusal([detail((), invalid(f"expected a mapping with the key url, got {got(value)}"))])
    if "url" not in value:
        raise refusal([detail(("url",), invalid("required, but missing"))])
    try:
        url = _URL.validate_python(value["url"], context=context)
    except ValidationError as exc:
        raise refusal(below("url", carry(exc))) from exc
    if url.scheme not in SCHEMES:
        hint = suggest(url.scheme, SCHEMES)
        fault = invalid(
            f"expected a URL that begins with one of {', '.join(SCHEMES)}", suggestion=hint and f"{hint}://"
        )
        raise refusal([detail(("url",), fault)])
    return SCHEMES[url.scheme].model_validate({**value, "url": url}, context=context)
