"""Creates adapters and policies from the configuration: the only module that knows which class stands for what.

Adapters that few configurations have are imported where they are created, with all that they need.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notifier.config import (
    AmqpQueue,
    AppriseEndpoint,
    ArchiveConfig,
    Bucket,
    CallbacksConfig,
    Description,
    NatsQueue,
    QueueConfig,
    RedisQueue,
    S3Config,
    Secret,
    SlackEndpoint,
    SourceConfig,
    TracingConfig,
    WebhookEndpoint,
)
from notifier.core.callback import CallbackPolicy
from notifier.core.errors import NotifierError
from notifier.core.reconnect import ReconnectPolicy
from notifier.core.signers import GithubSigner, Signer, StandardSigner, StripeSigner, Unsigned
from notifier.core.signing import decode_secret
from notifier.deliver import EndpointPolicy, Sender
from notifier.follow import FeedPolicy, Source
from notifier.inputs import Broker, Intake, QueueInput, amqp_broker, nats_broker, redis_broker
from notifier.runtime.clock import Clock
from notifier.runtime.metrics import Metrics
from notifier.runtime.tls import tls_context
from notifier.runtime.tracing import UNTRACED, Tracing
from notifier.senders.callback import CallbackCourier
from notifier.senders.pace import Paces
from notifier.senders.target import USER_AGENT, Target
from notifier.senders.webhook import WebhookSender
from notifier.sources.plan import SourceSettings
from notifier.sources.poll import PollSource
from notifier.sources.sse import SseSource

if TYPE_CHECKING:
    from notifier.senders.slack_bot import EditedMessages, SlackBot
    from notifier.sources.archive import Archive
    from notifier.sources.kept_object import S3Place

Endpoint = WebhookEndpoint | SlackEndpoint | AppriseEndpoint
Trust = ssl.SSLContext | bool  # as aiohttp takes it: True stands for the system's authorities


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """The parts that senders share."""

    messages: EditedMessages | None = None  # needed for bots
    paces: Paces = field(default_factory=Paces)
    public_url: str | None = None  # of the status page, for links in messages


def sender(endpoint: Endpoint, clock: Clock, means: Means | None = None) -> Sender:
    """Create a sender.

    Raises OSError when a certificate file cannot be read any more, NotifierError when a library is missing.
    """
    means = Means() if means is None else means
    if isinstance(endpoint, AppriseEndpoint):
        from notifier.senders.apprise_service import AppriseSender

        return AppriseSender(
            endpoint.url.reveal(),
            timeout=endpoint.timeout,
            max_in_flight=endpoint.max_in_flight,
            retry_on_timeout=endpoint.retry_on_timeout,
            template=endpoint.template,
            additions=endpoint.additions(means.public_url),
            clock=clock,
        )
    target = Target(
        url=endpoint.target.reveal(),
        timeout=endpoint.timeout,
        headers={name: value.reveal() for name, value in endpoint.headers.items()},
        max_in_flight=endpoint.max_in_flight,
        ssl=tls_context(ca_file=endpoint.ca_file, cert_file=endpoint.cert_file, key_file=endpoint.key_file),
        proxy=endpoint.proxy.reveal() if endpoint.proxy else None,
        signed_with=tuple(secret.reveal() for secret in endpoint.secrets)
        if isinstance(endpoint, WebhookEndpoint)
        else (),
    )
    match endpoint:
        case WebhookEndpoint():
            return WebhookSender(
                target, signer=_signer(endpoint), format=endpoint.format, template=endpoint.template, clock=clock
            )
        case SlackEndpoint(token=Secret() as token, channel=str(channel)):
            return _bot(endpoint, target, token, channel, clock, means)
        case SlackEndpoint():
            from notifier.senders.chat import ChatSender

            return ChatSender(
                target,
                service=endpoint.service,
                template=endpoint.template,
                retry_on_timeout=endpoint.retry_on_timeout,
                additions=endpoint.additions(means.public_url),
                clock=clock,
            )


def _bot(endpoint: SlackEndpoint, target: Target, token: Secret, channel: str, clock: Clock, means: Means) -> SlackBot:
    if means.messages is None:
        raise ValueError("a bot needs the store: it edits what it has sent")
    from notifier.senders.slack_bot import SlackBot, place_of

    return SlackBot(
        target,
        token=token.reveal(),
        channel=channel,
        messages=means.messages,
        pace=means.paces.of(place_of(target.url, channel)),
        interval=1 / endpoint.rate_limit if endpoint.rate_limit else 0.0,
        thread=endpoint.thread,
        template=endpoint.template,
        retry_on_timeout=endpoint.retry_on_timeout,
        additions=endpoint.additions(means.public_url),
        clock=clock,
    )


def archive(config: ArchiveConfig) -> Archive | None:
    """Create the archive of results; None if none are kept. Raises NotifierError when its library is missing."""
    if config.to is None:
        return None
    from notifier.sources.archive import Archive, ArchiveSettings
    from notifier.sources.kept_file import Directory

    return Archive(
        ArchiveSettings(
            place=Directory(config.to) if isinstance(config.to, Path) else _in_bucket(config.to, config.s3),
            max_bytes=config.max_bytes,
            timeout=config.timeout,
            allow_http=config.allow_http,
            policy=CallbackPolicy(allow_networks=config.allow_networks),
            user_agent=USER_AGENT,
            ssl=tls_context(),
        )
    )


def _in_bucket(bucket: Bucket, config: S3Config) -> S3Place:
    try:
        from notifier.sources.kept_object import S3Place  # here, since the client library is an extra
    except ImportError as exc:
        raise NotifierError("s3:// needs a library: install notifier's extra `s3`") from exc
    assert config.access_key is not None, "the configuration was checked"
    assert config.secret_key is not None, "the configuration was checked"
    return S3Place(
        host=config.endpoint.origin.partition("://")[2],
        secure=config.endpoint.scheme == "https",
        region=config.region,
        bucket=bucket.name,
        prefix=bucket.prefix,
        access_key=config.access_key.reveal(),
        secret_key=config.secret_key.reveal(),
    )


def tracing(config: TracingConfig) -> Tracing:
    """Create what makes spans. Raises NotifierError when its library is missing."""
    if config.url is None:
        return UNTRACED
    try:
        from notifier.runtime.otel import OtelTracing  # here, since OpenTelemetry takes 100 ms to load
    except ImportError as exc:
        raise NotifierError("tracing needs a library: install notifier's extra `opentelemetry`") from exc
    headers = {name: value.reveal() for name, value in config.headers.items()}
    return OtelTracing(config.url.reveal(), headers=headers, service=config.service)


def courier(config: CallbacksConfig, clock: Clock) -> CallbackCourier | None:
    """Create the sender to the callbacks of watches; None if they are switched off."""
    if not config.enabled or config.secret is None:
        return None
    return CallbackCourier(policy=config.policy, secret=config.secret.reveal(), clock=clock, ssl=tls_context())


def _signer(endpoint: WebhookEndpoint) -> Signer:
    secrets = [secret.reveal() for secret in endpoint.secrets]
    match endpoint.signature:
        case "standard":
            return StandardSigner([decode_secret(secret) for secret in secrets])
        case "github":
            return GithubSigner(secrets[0])
        case "stripe":
            return StripeSigner(secrets)
        case "none":
            return Unsigned()


def endpoint_policy(endpoint: Endpoint) -> EndpointPolicy:
    """Return the limits and the schedule of an endpoint."""
    return EndpointPolicy(
        fingerprint=hashlib.sha256(endpoint.identity.encode()).hexdigest()[:16],
        schedule=endpoint.retry_schedule,
        max_in_flight=endpoint.max_in_flight,
        rate_limit=endpoint.rate_limit,
        latest=endpoint.ordering == "latest",
        failing_after=endpoint.failing_after,
        disable_after=endpoint.disable_after,
        people=not isinstance(endpoint, WebhookEndpoint),
        digest=None if isinstance(endpoint, WebhookEndpoint) else endpoint.digest,
    )


def source(name: str, config: SourceConfig, metrics: Metrics) -> Source:
    """Create a source. Raises OSError when a certificate file cannot be read any more."""
    if config.description.transport == "poll":
        return PollSource(
            name=name,
            settings=source_settings(config, trust(config)),
            user_agent=USER_AGENT,
            metrics=metrics,
        )
    return SseSource(
        name=name,
        settings=source_settings(config, trust(config)),
        max_streams=config.max_streams,
        user_agent=USER_AGENT,
        metrics=metrics,
    )


def update_source(source: Source, config: SourceConfig, trust: Trust | None) -> None:
    """Give a source new settings; `trust` of None stays as it is."""
    source.update(source_settings(config, source.settings.ssl if trust is None else trust))


def source_settings(config: SourceConfig, trust: Trust) -> SourceSettings:
    """Return how a source asks and reads."""
    twin = config.description.twin
    settings = _settings(config.description, config, trust)
    return settings if twin is None else replace(settings, twin=_settings(twin, config, trust))


def _settings(description: Description, config: SourceConfig, trust: Trust) -> SourceSettings:
    return SourceSettings(
        preset=description,
        token=config.token.reveal() if config.token else None,
        connect_timeout=config.connect_timeout,
        max_event=config.max_event,
        ssl=trust,
        result_timeout=config.result_timeout,
        proxy=None if config.proxy is None else config.proxy.reveal(),
    )


def trust(config: SourceConfig) -> Trust:
    """Return the authorities that a source trusts. Raises OSError when the file cannot be read any more."""
    return tls_context(ca_file=config.ca_file)


def queue_input(queue: QueueConfig, *, intake: Intake, metrics: Metrics) -> QueueInput[Any]:
    """Create an input. Raises NotifierError when its client library is missing or its URL cannot be used."""
    url = queue.url.reveal()
    broker: Broker[Any]
    match queue:
        case RedisQueue():
            broker = redis_broker(url=url, stream=queue.stream, group=queue.group)
        case NatsQueue():
            broker = nats_broker(url=url, stream=queue.stream, subject=queue.subject, durable=queue.durable)
        case AmqpQueue():
            broker = amqp_broker(url=url, queue=queue.queue)
    return QueueInput(broker=broker, intake=intake, metrics=metrics)


def feed_policy(config: SourceConfig) -> FeedPolicy:
    """Return a source's limits."""
    description = config.description
    polled = description.poll if description.transport == "poll" else None
    requests = (description.twin or description).poll
    return FeedPolicy(
        reconnect=ReconnectPolicy(
            backoff_initial=config.backoff.initial,
            backoff_max=config.backoff.max,
            not_found_grace=config.not_found_grace,
            give_up_after=config.give_up_after,
        ),
        max_streams=polled.max_in_flight if polled else config.max_streams,
        connect_rate=(polled.rate_limit if polled else None) or config.connect_rate,
        idle_timeout=config.idle_timeout,
        deadline=config.deadline,
        stall_after=config.stall_after,
        failing_after=config.failing_after,
        poll=requests if polled or description.twin else None,
        requests=requests.max_in_flight,
        request_rate=requests.rate_limit or config.connect_rate,
        resume_window=description.resume_window,
    )
