"""The example names every key and works; the schema accepts it and the design's sample, and what the loader refuses it
mostly refuses too."""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped] # its stubs are not among the development packages
import pytest
from config_site import WHSEC, Site

from notifier.config import (
    AmqpQueue,
    AppriseEndpoint,
    ArchiveConfig,
    Backoff,
    CallbacksConfig,
    Config,
    HeartbeatConfig,
    HttpConfig,
    LogConfig,
    MatchConfig,
    NatsQueue,
    NodeConfig,
    RedisQueue,
    S3Config,
    SlackEndpoint,
    SourceConfig,
    StoreConfig,
    TracingConfig,
    WatchConfig,
    WebhookEndpoint,
    describe,
    json_schema,
    load,
    read_document,
)
from notifier.config.chat import MessageKeys
from notifier.config.endpoint_keys import EndpointKeys, HttpEndpointKeys
from notifier.config.secret import SecretUrl
from notifier.config.section import Section
from notifier.config.types import write_duration, write_size
from notifier.config.watch import WatchRequest
from notifier.core.model import EventType, Phase
from notifier.sources.preset import Paths

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
SAMPLE = Path(__file__).parent / "design_sample.yaml"  # as it stands in the design
ENV = {
    "VIDU_TOKEN": "t",
    "APP_WEBHOOK_SECRET": WHSEC,
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T/B/x",
    "CALLBACK_SECRET": WHSEC,
}
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def _block(key: str, within: str) -> str:
    """Return the lines below a key, and of its own; comments are read as if they were none."""
    lines = within.splitlines()
    start = next(index for index, line in enumerate(lines) if re.match(rf"\s*{key}:", line))
    indent = len(lines[start]) - len(lines[start].lstrip())
    below = itertools.takewhile(
        lambda line: not line.strip() or len(line) - len(line.lstrip()) > indent, lines[start + 1 :]
    )
    return "\n".join([lines[start], *below])


def _uncommented(text: str) -> str:
    """Turn `  # key: value` into `    key: value`."""
    return re.sub(r"^(\s*)# (- |  )?(?=\w+:)", lambda found: found[1] + "  " + "  ", text, flags=re.MULTILINE)


TEXT = _uncommented(EXAMPLE.read_text(encoding="utf-8"))
SOURCES, ENDPOINTS = _block("sources", TEXT), _block("endpoints", TEXT)
PLACES: list[tuple[type[Section], str]] = [
    (Config, TEXT),
    (SourceConfig, _block("vidu", SOURCES)),
    (Backoff, _block("backoff", SOURCES)),
    (WebhookEndpoint, _block("app", ENDPOINTS)),
    (SlackEndpoint, _block("ops", ENDPOINTS)),
    (AppriseEndpoint, TEXT[TEXT.index("phones:") : TEXT.index("\nwatches:")]),
    (MatchConfig, _block("match", ENDPOINTS)),
    (WatchConfig, _block("watches", TEXT).replace("- ", "  ")),
    (RedisQueue, _block("queues", TEXT)),
    (NatsQueue, _block("queues", TEXT)),
    (AmqpQueue, _block("queues", TEXT)),
    (StoreConfig, _block("store", TEXT)),
    (HttpConfig, _block("http", TEXT)),
    (CallbacksConfig, _block("callbacks", TEXT)),
    (HeartbeatConfig, _block("heartbeat", TEXT)),
    (ArchiveConfig, _block("archive", TEXT)),
    (S3Config, _block("s3", TEXT)),
    (TracingConfig, _block("tracing", TEXT)),
    (LogConfig, _block("log", TEXT)),
    (NodeConfig, _block("node", TEXT)),
]


def _sections(model: type[Section]) -> set[type[Section]]:
    found = {model}
    for below in model.__subclasses__():
        found |= _sections(below)
    return {section for section in found if not section.__name__.startswith("_")}


def test_every_model_has_its_place_in_the_example() -> None:
    """All but what comes by API and queue alone."""
    assert {model for model, _ in PLACES} == _sections(Section) - {
        Section,
        EndpointKeys,
        HttpEndpointKeys,
        MessageKeys,
        WatchRequest,
    }


@pytest.mark.parametrize(
    ("model", "key", "text"),
    [(model, key, text) for model, text in PLACES for key in model.keys()],  # noqa: SIM118 # a method of ours: no dict
)
def test_every_key_of_every_model_is_in_the_example(model: type[Section], key: str, text: str) -> None:
    assert re.search(rf"^\s*(?:- )?{key}:", text, flags=re.MULTILINE), f"{model.__name__}.{key}"


@pytest.mark.parametrize("key", [*Paths.model_fields, *map(str, Phase)])
def test_every_path_and_phase_is_in_the_example(key: str) -> None:
    assert re.search(rf"^      {key}:", SOURCES, flags=re.MULTILINE)


def test_every_key_of_the_example_has_a_comment() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    plain = {"url", "match", "events", "timeout", "retry_schedule", "max_in_flight", "ordering"}
    plain |= {
        "failing_after",
        "disable_after",
        "headers",
        "ca_file",
        "proxy",
        "cert_file",
        "key_file",
        "Accept",
        "Authorization",
        "base_url",
        "store",
        "log",
        *Phase,
    }
    bare = [line for line in lines if re.match(r"\s*[\w-]+:", line) and "#" not in line]
    names = {"vidu", "app", "ops"}
    assert [line for line in bare if line.split(":")[0].strip() not in plain | names] == []


def test_the_example_names_every_type_of_event() -> None:
    assert all(kind in TEXT for kind in EventType)


def test_the_example_loads_when_its_variables_are_set() -> None:
    config = load(EXAMPLE, env=ENV)
    assert list(config.sources) == ["vidu"]
    assert [watch.id for watch in config.watches] == ["2370487727425660", "2370487727425661"]


def test_the_example_shows_the_defaults(site: Site) -> None:
    config = load(EXAMPLE, env=ENV)
    minimal = site.load(f"""\
sources: {{vidu: {{preset: vidu, token: t, default: true}}}}
endpoints:
  app: {{type: webhook, url: "https://example.com/hooks/tasks", secrets: [{WHSEC}],
        match: {{source: vidu, labels: {{team: video}}}}}}
  ops: {{type: slack, url: "{ENV["SLACK_WEBHOOK_URL"]}",
        events: [task.succeeded, task.failed, watch.lost, endpoint.disabled]}}
""")
    assert config.sources["vidu"].model_dump() == minimal.sources["vidu"].model_dump()
    assert config.endpoints == minimal.endpoints
    for key in (
        "store",
        "http",
        "callbacks",
        "heartbeat",
        "archive",
        "tracing",
        "log",
        "node",
        "shutdown_timeout",
        "loop",
        "reload_on_change",
    ):
        assert getattr(config, key) == getattr(minimal, key)


def test_the_queues_of_the_example_load(site: Site) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    block = text[text.index("queues: []") : text.index("store:")].replace("queues: []", "queues:")
    block = re.sub(r"^  # ", "  ", block, flags=re.MULTILINE)
    assert (
        site.load(block).queues
        == site.load(
            'queues: [{url: "redis://localhost:6379"}, {url: "nats://localhost:4222"}, {url: "amqp://guest:guest@localhost/"}]'
        ).queues
    )


def test_the_designs_sample_loads_as_it_is_written(tmp_path: Path) -> None:
    shutil.copy(SAMPLE, tmp_path / "config.yaml")
    config = load(tmp_path / "config.yaml", env=ENV)
    assert config.callbacks.enabled
    assert config.watches[1].metadata == {"order": 7}
    assert len(config.queues) == 1


def _plain(path: Path) -> Any:
    """Return a file's data with its variables still in place."""
    document = read_document(path, {name: f"${{{name}}}" for name in ENV})
    assert document.problems == ()
    return document.data


def test_the_schema_is_one_of_the_current_draft() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", [EXAMPLE, SAMPLE], ids=["example", "design"])
def test_the_schema_accepts_what_is_documented(path: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(_plain(path))] == []


@pytest.mark.parametrize(
    "text",
    [
        "watches: [5, a, {id: 5}]", "sources: {v: {token: {file: x}, max_streams: '${N}'}}", "store:",
        "log: {level: '${L}'}",
        "shutdown_timeout: 0", "sources: {v: {not_found_grace: 0s, paths: {eta: x}, headers: {a: b}}}",
        "endpoints: {a: {type: slack, url: {credential: x}, rate_limit: 5/m}}",
        "queues: [{url: 'nats://x', subject: y}]",
        "http: {listen: null}", "reload_on_change: true",
        "endpoints: {a: {type: webhook, url: x, signature: none}}",
        "endpoints: {a: {type: webhook, url: x, signature: github, secrets: [x]}}",
    ],
)  # fmt: skip
def test_the_schema_accepts_what_users_write(site: Site, text: str) -> None:
    data = read_document(site.write(text), {"N": "${N}", "L": "${L}"}).data
    assert [error.message for error in VALIDATOR.iter_errors(data)] == []


@pytest.mark.parametrize(
    "text",
    [
        "stroe: {}", "sources: {v: {zzz: 1}}", "sources: {v: {deadline: 5}}", "sources: {v: {deadline: 0s}}",
        "sources: {v: {framing: lines}}", "endpoints: {a: {type: slak, url: x}}",
        "endpoints: {a: {type: webhook, url: x}}", "endpoints: {a: {type: webhook, url: x, signature: github}}",
        "endpoints: {a: {type: webhook, url: x, signature: standard, secrets: []}}",
        "endpoints: {a: {type: slack, url: x, secrets: [a]}}", "watches: [{source: v}]",
        "watches: [{id: a, labels: 5}]",
        "queues: [{url: x, zzz: 1}]", "log: {level: loud}", "callbacks: {allow_hosts: x}", "store: {url: {fil: x}}",
        "shutdown_timeout: soon", "endpoints: {a: {type: slack, url: x, rate_limit: '10'}}", "loop: fast",
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_loader_refuses(site: Site, text: str) -> None:
    assert list(VALIDATOR.iter_errors(read_document(site.write(text), {}).data))
    assert site.problems(text)


def _properties() -> list[tuple[str, str, dict[str, Any]]]:
    found = [("Config", key, part) for key, part in SCHEMA["properties"].items()]
    for name, definition in SCHEMA["$defs"].items():
        found += [(name, key, part) for key, part in definition.get("properties", {}).items()]
    return found


@pytest.mark.parametrize(("name", "key", "part"), _properties())
def test_every_key_of_the_schema_has_a_title_and_a_description_and_a_fitting_default(
    name: str, key: str, part: dict[str, Any]
) -> None:
    assert part.get("title")
    assert part.get("description")
    if "default" in part:
        jsonschema.Draft202012Validator({**part, "$defs": SCHEMA["$defs"]}).validate(part["default"])


def test_the_schema_shows_the_whole_default_of_a_url() -> None:
    """Who copies it gets what the program does without it."""
    defaults = {
        (model.__name__, key): field.default.reveal()
        for model in _sections(Section)
        for key, field in model.model_fields.items()
        if isinstance(field.default, SecretUrl)
    }
    assert defaults
    shown = {(model, key): SCHEMA["$defs"][model]["properties"][key]["default"] for model, key in defaults}
    assert shown == defaults


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (60, "1m"),
        (90, "90s"),
        (3600, "1h"),
        (86400, "1d"),
        (432000, "5d"),
    ],
)
def test_a_duration_is_written_in_the_largest_exact_unit(seconds: float, written: str) -> None:
    assert write_duration(seconds) == written


def test_describe_says_what_would_run(site: Site) -> None:
    config = site.load(f"""\
sources:
  v: {{preset: vidu, token: a, default: true}}
  w: {{base_url: "http://127.0.0.1:9/x"}}
endpoints:
  app: {{type: webhook, url: "https://u:p@example.com/h", secrets: [{WHSEC}, {WHSEC}],
        match: {{source: v, labels: {{a: b}}}}}}
  ops: {{type: slack, url: "https://hooks.slack.com/x", match: {{}}}}
  all: {{type: slack, url: "https://hooks.slack.com/x", events: ["*"]}}
watches: [a, b, {{id: c, source: w}}]
queues:
  - {{url: "redis://:p@localhost"}}
  - {{url: "nats://localhost"}}
  - {{url: "amqp://u:p@localhost"}}
http: {{listen: null}}
callbacks: {{secret: {WHSEC}, allow_hosts: ["*.example.com"]}}
""")
    assert describe(config) == [
        "2 sources, 3 endpoints, 3 watches, 3 queues",
        "source v: preset vidu, https://api.gptgod.online, sse, with a token, 2 watches (default)",
        "source w: preset generic, http://127.0.0.1:9, sse, without a token, 1 watch",
        "endpoint app: webhook to https://example.com, 2 secrets, task.*, watch.lost, of watches with source v, a=b",
        "endpoint ops: slack at https://hooks.slack.com, task.*, watch.lost, of all watches",
        "endpoint all: slack at https://hooks.slack.com, *, of all watches",
        "queue: redis://localhost, stream notifier:watches, group notifier",
        "queue: nats://localhost, stream NOTIFIER, subject notifier.watches, durable notifier",
        "queue: amqp://localhost, queue notifier.watches",
        "store: sqlite:///./notifier.db, finished watches kept for 7d",
        "http: no listener",
        "callbacks: to *.example.com by https, public addresses only",
    ]


def test_describe_counts_in_words_that_fit(site: Site) -> None:
    lines = describe(site.load("{}"))
    match = 'endpoints: {e: {type: slack, url: "https://x", match: {labels: {a: b}}}}'
    assert describe(site.load(match))[1].endswith(", of watches with a=b")
    assert lines[0] == "0 sources, 0 endpoints, 0 watches, 0 queues"
    assert lines[-1:] == ["http: 127.0.0.1:8780, without a token"]
    assert describe(site.load("http: {token: x}"))[-1] == "http: 127.0.0.1:8780, with a token"


@pytest.mark.parametrize(
    ("count", "written"),
    [(1 << 30, "1GiB"), (1536 << 20, "1536MiB"), (4096, "4KiB"), (1500, "1,500 bytes"), (0, "0 bytes")],
)
def test_sizes_are_written_in_the_largest_exact_unit(count: int, written: str) -> None:
    """As people read them."""
    assert write_size(count) == written
