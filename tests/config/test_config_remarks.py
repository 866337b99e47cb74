"""A probable mistake is a warning with its place; a library that is needed and missing is an error."""

from __future__ import annotations

import sys

import pytest
from config_site import WHSEC, Site

from notifier.config import load, review

SOURCES = "sources: {v: {preset: vidu, token: t, default: true}, w: {preset: vidu, token: t}}\n"


def endpoints(**keys: str) -> str:
    """Return a section with an endpoint that has more keys."""
    more = "".join(f", {key}: {value}" for key, value in keys.items())
    return f"endpoints:\n  app: {{type: webhook, url: 'https://e.example/', secrets: [{WHSEC}]{more}}}\n"


def warnings(site: Site, text: str) -> list[str]:
    """Return the warnings of a valid configuration, without the directory."""
    result = review(site.write(text), env=site.env)
    assert not result.missing
    assert result.config == load(site.path, env=site.env)
    return [str(warning).replace(f"{site.directory}/", "") for warning in result.warnings]


def test_a_sound_configuration_has_no_warnings(site: Site) -> None:
    """Watches that somebody hears of, patterns that match, a template for any watch."""
    site.write("- b\n", "w.d/1.yaml")
    template = """'{"t": {{ data.watch.labels.team | default("none") | tojson }}, "s": {{ data.state | tojson }}}'"""
    text = SOURCES + endpoints(template=template, events='["task.*"]') + "watches: [a]\nwatch_files: ['w.d/*.yaml']\n"
    assert warnings(site, text) == []


@pytest.mark.parametrize("text", ["", "endpoints: {}\n", "endpoints:\n"])
def test_no_endpoint_is_a_warning(site: Site, text: str) -> None:
    """It is said once, not for every watch; callbacks of watches are a receiver too."""
    [warning] = warnings(site, SOURCES + "watches: [a, b]\n" + text)
    assert warning.endswith("endpoints: there is no endpoint: nobody receives any event")
    assert warnings(site, SOURCES + f"callbacks: {{secret: {WHSEC}}}\n") == []


@pytest.mark.parametrize("states", ["{}", "{running: [busy]}", "{failed: [bad], succeeded: []}"])
def test_a_source_that_knows_no_success_is_a_warning(site: Site, states: str) -> None:
    presets = f"presets: {{mine: {{url: 'https://x/{{id}}', states: {states}}}}}\n"
    [warning] = warnings(site, presets + "sources: {s: {preset: mine}}\n" + endpoints())
    assert warning.startswith("config.yaml:2:11: sources.s: its `states` list none as succeeded: ")


def test_a_pattern_that_matches_nothing_is_a_warning(site: Site) -> None:
    """At its place in the list."""
    site.write("- b\n", "w.d/1.yaml")
    text = SOURCES + endpoints() + "watch_files:\n- w.d/*.yaml\n- x.d/*.yaml\n- w.d/*.yml\n"
    assert warnings(site, text) == [
        "config.yaml:6:3: watch_files[1]: matches no file",
        "config.yaml:7:3: watch_files[2]: matches no file",
    ]


def test_a_directory_that_waits_for_files_is_no_mistake(site: Site) -> None:
    """It is there and empty, as after `notifier init`; one that is not there, or has other files, is told."""
    (site.directory / "w.d").mkdir()
    text = SOURCES + endpoints() + "watch_files: ['PATTERN']\n"
    assert warnings(site, text.replace("PATTERN", "w.d/*.yaml")) == []
    for pattern in ("x.d/*.yaml", "w?d/*.yaml", "*.yml"):
        assert len(warnings(site, text.replace("PATTERN", pattern))) == 1, pattern
    site.write("- b\n", "w.d/1.yml")
    assert len(warnings(site, text.replace("PATTERN", "w.d/*.yaml"))) == 1


@pytest.mark.parametrize(("paths", "warned"), [("{state: s}", True), ("{state: s, task_id: id}", False)])
def test_a_batch_whose_items_name_no_task_is_a_warning(site: Site, paths: str, warned: bool) -> None:
    """Of a list, nothing could be read; an object by id needs no more."""
    source = f"preset: generic, base_url: 'https://h', transport: poll, states: {{succeeded: [x]}}, paths: {paths}"
    text = f"sources: {{s: {{{source}, batch: {{url: '{{base_url}}/all', items: items}}}}}}\n" + endpoints()
    found = warnings(site, text)
    assert [each.partition(": ")[2] for each in found] == [
        "sources.s.batch: without `paths.task_id`, nothing is read from a reply that is a list"
    ] * warned


@pytest.mark.parametrize(
    ("keys", "watch", "heard"),
    [
        ({}, "a", True),
        ({"match": "{labels: {team: x}}"}, "a", False),
        ({"match": "{labels: {team: x}}"}, "{id: a, labels: {team: x}}", True),
        ({"match": "{labels: {team: x}}"}, "{id: a, endpoints: [app]}", True),
        ({"match": "{source: w}"}, "a", False),
        ({"match": "{source: w}"}, "{id: a, source: w}", True),
        ({"events": "[endpoint.disabled]"}, "a", False),
        ({"events": "['*.lost']"}, "a", True),
        ({}, "{id: a, endpoints: []}", False),
    ],
)
def test_a_watch_that_no_endpoint_hears_of_is_a_warning(
    site: Site, keys: dict[str, str], watch: str, heard: bool
) -> None:
    """Whatever keeps its events from every endpoint: match, events, or its own list."""
    found = warnings(site, SOURCES + endpoints(**keys) + f"watches: [{watch}]\n")
    expected = [] if heard else ["config.yaml:4:11: watches[0]: no endpoint receives the events of this watch"]
    assert found == expected


def test_unheard_watches_are_counted_by_file(site: Site) -> None:
    """At the first one of each file."""
    site.write("- b\n- {id: c, labels: {team: x}}\n- d\n- e\n", "w.d/1.yaml")
    text = SOURCES + endpoints(match="{labels: {team: x}}") + "watches: [a]\nwatch_files: ['w.d/*.yaml']\n"
    assert warnings(site, text) == [
        "config.yaml:4:11: watches[0]: no endpoint receives the events of this watch",
        "w.d/1.yaml:1:3: [0]: no endpoint receives the events of this watch (and 2 more in this file)",
    ]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ data.watch.labels.team | tojson }}", "'dict object' has no attribute 'team'"),
        ("{{ data.watch.metadata.order | tojson }}", "'None' has no attribute 'order'"),
        ("{{ data.watch.labels.a ~ data.watch.labels.b | tojson }}", "'dict object' has no attribute 'b'"),
    ],
)
def test_a_template_that_needs_labels_or_metadata_is_a_warning(site: Site, template: str, message: str) -> None:
    """Its callbacks would be dead at the first attempt; labels that `match` asks for are there."""
    text = SOURCES + endpoints(template=f"'{template}'", match="{labels: {a: '1'}}")
    [warning] = warnings(site, text)
    assert "endpoints.app.template: fails for a watch without metadata and further labels: " in warning
    assert message in warning
    site.env = {"T": template}
    [warning] = warnings(site, SOURCES + endpoints(template="'${T}'", match="{labels: {a: '1'}}"))
    assert warning.endswith("it holds a variable, so no more is said")


@pytest.mark.parametrize(
    ("text", "library", "message"),
    [
        (
            "queues: [{url: 'redis://h'}]",
            "redis",
            "queues[0].url: needs a client library: install notifier's extra `redis`",
        ),
        (
            "queues: [{url: 'nats://h'}]",
            "nats",
            "queues[0].url: needs a client library: install notifier's extra `nats`",
        ),
        (
            "queues: [{url: 'amqp://h/'}]",
            "aio_pika",
            "queues[0].url: needs a client library: install notifier's extra `amqp`",
        ),
        (
            "endpoints: {a: {type: apprise, url: 'json://h'}}",
            "apprise",
            "endpoints.a.url: needs a library: install notifier's extra `apprise`",
        ),
        (
            "archive: {to: 's3://bucket/x', s3: {access_key: a, secret_key: b}}",
            "minio",
            "archive.to: needs a library: install notifier's extra `s3`",
        ),
        (
            "tracing: {url: 'http://h/v1/traces'}",
            "opentelemetry",
            "tracing.url: needs a library: install notifier's extra `opentelemetry`",
        ),
        ("store: {url: 'postgresql://h/n'}", "psycopg", "store.url: needs a client library"),
        ("loop: uvloop", "uvloop", "loop: uvloop is not installed; install it, or write auto"),
    ],
)
def test_a_missing_library_is_an_error(
    site: Site, text: str, library: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is asked for; with the library there is none."""
    assert review(site.write(text), env={}).missing == ()
    monkeypatch.setitem(sys.modules, library, None)  # what an import finds where it is not installed
    [problem] = review(site.path, env={}).missing
    assert message in str(problem)
    assert problem.line == 1
