"""Configuration: YAML becomes typed, validated values, or a list of every problem with its place.

Each part of the file has its model: `source` and `description`, `endpoint` and `endpoint_keys`, `chat` and `template`,
`identity` (secrets and certificates), `watch`, `queue`, `archive`, `database`, the small ones in `settings`; `section`
is the base of all, `model` the whole.

`document` reads a file and fills in variables, `tree` parses it with places, `plain` and `shapes` long lists in less
time. `loader` reads all files and checks one section against another, `reading` knows which files those were, `remarks`
has the warnings that `notifier check` gives, `describe` what it prints. `problems` words every refusal, `syntax` those
of mistakes in YAML. `types` are durations, rates and names, `secret` keeps secrets from being printed.
"""

from __future__ import annotations

from notifier.config.archive import ArchiveConfig, Bucket, S3Config
from notifier.config.changes import ConfigInForce, NotNow, compare
from notifier.config.chat import AppriseEndpoint, SlackEndpoint
from notifier.config.describe import describe
from notifier.config.description import Description
from notifier.config.document import Document, read_document
from notifier.config.endpoint import EndpointConfig, WebhookEndpoint
from notifier.config.endpoint_keys import MatchConfig
from notifier.config.loader import http_section, load, parse_watch, review
from notifier.config.model import Config
from notifier.config.problems import (
    ConfigError,
    Location,
    Problem,
    WatchRefused,
    explain,
    invalid,
    key_path,
    split_problem,
)
from notifier.config.queue import AmqpQueue, NatsQueue, QueueConfig, RedisQueue
from notifier.config.reading import Reading, Stamp
from notifier.config.schema import json_schema
from notifier.config.secret import Secret, SecretUrl
from notifier.config.settings import (
    Address,
    CallbacksConfig,
    HeartbeatConfig,
    HttpConfig,
    LogConfig,
    NodeConfig,
    StoreConfig,
    TcpAddress,
    TracingConfig,
    UnixAddress,
)
from notifier.config.source import Backoff, SourceConfig
from notifier.config.types import Text, read_duration
from notifier.config.watch import WatchConfig, WatchRequest

__all__ = [
    "Address",
    "AmqpQueue",
    "AppriseEndpoint",
    "ArchiveConfig",
    "Backoff",
    "Bucket",
    "CallbacksConfig",
    "Config",
    "ConfigError",
    "ConfigInForce",
    "Description",
    "Document",
    "EndpointConfig",
    "HeartbeatConfig",
    "HttpConfig",
    "Location",
    "LogConfig",
    "MatchConfig",
    "NatsQueue",
    "NodeConfig",
    "NotNow",
    "Problem",
    "QueueConfig",
    "Reading",
    "RedisQueue",
    "S3Config",
    "Secret",
    "SecretUrl",
    "SlackEndpoint",
    "SourceConfig",
    "Stamp",
    "StoreConfig",
    "TcpAddress",
    "Text",
    "TracingConfig",
    "UnixAddress",
    "WatchConfig",
    "WatchRefused",
    "WatchRequest",
    "WebhookEndpoint",
    "compare",
    "describe",
    "explain",
    "http_section",
    "invalid",
    "json_schema",
    "key_path",
    "load",
    "parse_watch",
    "read_document",
    "read_duration",
    "review",
    "split_problem",
]
