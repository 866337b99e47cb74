"""Configuration: YAML -> typed, validated values, or every problem at once with its place."""

from __future__ import annotations

from notifier.config.describe import describe
from notifier.config.endpoint import EndpointConfig, MatchConfig, SlackEndpoint, WebhookEndpoint
from notifier.config.loader import http_section, load, parse_watch
from notifier.config.model import Config
from notifier.config.problems import ConfigError, Problem, WatchRefused
from notifier.config.queue import AmqpQueue, NatsQueue, QueueConfig, RedisQueue
from notifier.config.reading import Reading
from notifier.config.schema import json_schema
from notifier.config.secret import Secret, SecretUrl
from notifier.config.settings import (
    Address,
    CallbacksConfig,
    HttpConfig,
    LogConfig,
    NodeConfig,
    StoreConfig,
    TcpAddress,
    UnixAddress,
)
from notifier.config.source import Backoff, SourceConfig
from notifier.config.watch import WatchConfig, WatchRequest

__all__ = [
    "Address",
    "AmqpQueue",
    "Backoff",
    "CallbacksConfig",
    "Config",
    "ConfigError",
    "EndpointConfig",
    "HttpConfig",
    "LogConfig",
    "MatchConfig",
    "NatsQueue",
    "NodeConfig",
    "Problem",
    "QueueConfig",
    "Reading",
    "RedisQueue",
    "Secret",
    "SecretUrl",
    "SlackEndpoint",
    "SourceConfig",
    "StoreConfig",
    "TcpAddress",
    "UnixAddress",
    "WatchConfig",
    "WatchRefused",
    "WatchRequest",
    "WebhookEndpoint",
    "describe",
    "document",
    "http_section",
    "json_schema",
    "load",
    "parse_watch",
    "problems",
    "reading",
    "section",
    "tree",
    "types",
    "watch",
]
